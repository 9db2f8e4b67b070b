"""What a backbone suggests for the rest of a spec: taken where the user wrote nothing, in place of the defaults.

A published model is more than its backbone. Its head may be no plain linear layer, and its weights expect
pictures of a certain size, cut and normalised in a certain way; other pictures cost accuracy without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from clscli.errors import ClscliError, PluginError
from clscli.plugins import resolve as find_component
from clscli.spec.draft import DEFAULT, Draft, Origin
from clscli.toml import Path

if TYPE_CHECKING:
    from clscli.spec.binding import Bound

_COMPANIONS = {("model", "neck"): "necks", ("model", "head"): "heads"}
_TRANSFORMS: tuple[Path, ...] = (
    ("transforms", "normalize"),
    ("transforms", "train"),
    ("transforms", "eval"),
)


# What pictures with several labels each need: a sigmoid for each class, and a metric of all labels.
_FOR_LABEL_SETS: dict[Path, Any] = {
    ("model", "loss"): {"type": "binary_cross_entropy"},
    ("train", "monitor"): "map",
}


class Advice(NamedTuple):
    """One value that a backbone suggests, and who says so."""

    path: Path
    value: Any
    origin: Origin


def advised(draft: Draft, backbone: Bound) -> Draft:
    """Return the draft with what the backbone suggests wherever a default stood.

    Raises PluginError when what it suggests cannot be.
    """
    advice = [*_of_companions(draft, backbone), *_of_weights(draft, backbone)]
    if not advice:
        return draft
    result = copy.deepcopy(draft)
    for path, value, origin in advice:
        result.put(path, value, {path: origin})
    return result


def advised_for_label_sets(draft: Draft) -> Draft:
    """Return the draft with what pictures with several labels need wherever a default stood."""
    result = copy.deepcopy(draft)
    for path, value in _FOR_LABEL_SETS.items():
        if _is_default(draft, path):
            result.put(path, value, {path: Origin("pictures with several labels")})
    return result


def _is_default(draft: Draft, path: Path) -> bool:
    """Tell whether nobody wrote the value at `path`, nor anything in it."""
    return all(origin == DEFAULT for at, origin in draft.origins.items() if at[: len(path)] == path)


def _of_companions(draft: Draft, backbone: Bound) -> Iterator[Advice]:
    """Take the neck and the head of the published model, from the backbone's own `companions`."""
    suggest = backbone.attribute("companions")
    open_slots = [path for path in _COMPANIONS if _is_default(draft, path)]
    if suggest is None or not open_slots:
        return
    try:
        suggested = dict(suggest(backbone.complete_parameters()))
        for path in open_slots:
            if path[-1] in suggested:
                value = suggested[path[-1]]
                for table in value if isinstance(value, list) else [value]:
                    find_component(_COMPANIONS[path], table["type"])
                yield Advice(path, value, Origin(backbone.label))
    except (ClscliError, TypeError, KeyError, ValueError) as cause:
        raise PluginError(
            f"{backbone.component} breaks its contract: its companions cannot be used: {cause}"
        ) from cause


def _of_weights(draft: Draft, backbone: Bound) -> Iterator[Advice]:
    """Take the size, the cut and the normalisation that the chosen weights were made for."""
    wanted = backbone.builder.get("pretrained", False)
    slots = [path for path in _TRANSFORMS if _is_default(draft, path)]
    if not wanted or not slots:
        return
    from clscli.models.published import chosen_weights, preprocessing  # here: few specs need it

    weights = chosen_weights(backbone.component, wanted, backbone.complete_parameters())
    if weights is None:
        return
    asked = preprocessing(weights)
    origin = Origin(f"weights '{weights.name}'")
    crop, interpolation = asked["crop"], asked["interpolation"]
    mode = {"mode": asked["mode"]} if "mode" in asked else {}
    values = {
        "normalize": asked["normalize"],
        "eval": [
            {"type": "resize", "size": asked["resize"], "interpolation": interpolation, **mode},
            {"type": "center_crop", "size": crop},
        ],
        "train": [
            {**table, "size": crop, "interpolation": interpolation}
            if table["type"] == "random_resized_crop"
            else table
            for table in draft.get(("transforms", "train"))
        ],
    }
    for path in slots:
        yield Advice(path, values[str(path[-1])], origin)
    size = (*backbone.path, "image_size")  # the size whose position embedding is learnt
    if backbone.has_parameter("image_size") and draft.get(size) is None:
        yield Advice(size, crop, origin)
