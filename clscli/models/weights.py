"""Pretrained weights: where they come from, how they fit a backbone and its neck, and what was loaded.

Handled outside the components, so that every backbone, a third party's too, can be given a file or a URL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import torch
from torch import Tensor, nn

from clscli.errors import CheckpointError
from clscli.models.classifier import Classifier
from clscli.models.download import Progress, digest_in, download
from clscli.models.matching import Match, counted, match_weights
from clscli.models.published import Weights, chosen_weights, published
from clscli.models.weight_files import file_in, read_tensors
from clscli.plugins import near_names
from clscli.reports.text import list_some
from clscli.spec import Bound, ResolvedSpec

# What libraries call the layers from the features to the classes.
_HEADS = ("fc", "head", "heads", "head_dist", "classifier", "last_linear", "aux_head")

# Where weights are: published ones, a file, or the URL of one.
Source = Weights | Path | str


def load_pretrained(
    spec: ResolvedSpec, model: Classifier, num_classes: int, progress: Progress | None = None
) -> list[str]:
    """Load the weights that the spec's backbone asks for, and return lines that say what was loaded.

    `pretrained` is true (the published weights), the name of published weights, a path or a URL;
    `num_classes` are those of the model that gets them. A neck that was published with the backbone, which
    is one that has `key_maps`, gets its weights from the same file.

    Raises SpecError for a name that does not exist, CheckpointError when the weights cannot be had or do
    not fit.
    """
    bound, source = spec.one("model", "backbone"), find_pretrained(spec)
    if source is None:
        return []
    tensors = _fetch(source, progress)
    neck_lines, tensors = _load_necks(spec, model.necks, tensors)
    match = match_weights(tensors, model.backbone)
    named = f"{source.name} ({source.source})" if isinstance(source, Weights) else str(source)
    fitting, total = check_most_fit(match, model.backbone, bound.label, named)
    check_finite(match.fitting, named)
    model.backbone.load_state_dict(match.fitting, strict=False)
    lines = [f"loaded {fitting} of {total} tensors from {named}", *describe_match(match, num_classes)]
    if isinstance(source, Weights) and source.is_non_commercial:
        lines.append(f"warning: the weights {source.name} are not for commercial use: {source.licence}")
    return [*(f"{bound.label}: {line}" for line in lines), *neck_lines]


def _load_necks(
    spec: ResolvedSpec, necks: Iterable[nn.Module], tensors: Mapping[str, Tensor]
) -> tuple[list[str], Mapping[str, Tensor]]:
    """Load the necks that are in a file as a whole; return lines about them, and the tensors that remain."""
    lines = []
    for bound, neck in zip(spec.many("model", "neck"), necks, strict=True):
        match = match_weights(tensors, neck) if hasattr(neck, "key_maps") else None
        if match is not None and not match.missing and not match.misshapen:
            neck.load_state_dict(match.fitting, strict=False)
            total = len(counted(match.fitting))
            lines.append(f"{bound.label}: loaded all of its {total} tensors from the same file")
            tensors = {name: tensor for name, tensor in tensors.items() if name not in match.claimed}
    return lines, tensors


def find_pretrained(spec: ResolvedSpec) -> Source | None:
    """Find what `pretrained` means; None when the spec asks for no weights.

    Raises SpecError for a file or a name that does not exist. Nothing is downloaded.
    """
    bound = spec.one("model", "backbone")
    wanted = bound.builder.get("pretrained", False)
    if wanted is False:
        return None
    path = (*bound.path, "pretrained")
    is_url = isinstance(wanted, str) and "://" in wanted
    if is_url and urlsplit(wanted).scheme != "file":
        return str(wanted)
    if is_url or (isinstance(wanted, str) and Path(wanted).is_absolute()):  # the spec made every path absolute
        file = Path(url2pathname(urlsplit(wanted).path)) if is_url else Path(wanted)
        if file.is_dir():
            inside = file_in(file)
            if inside is None:
                raise spec.error(path, f"{file}: has neither model.safetensors nor pytorch_model.bin in it")
            return inside
        if not file.is_file():
            raise spec.error(path, f"{file}: no such file")
        return file
    weights = chosen_weights(bound.component, wanted, bound.complete_parameters())
    if weights is None:
        raise spec.error(path, _no_such_weights(bound, wanted))
    return weights


def _no_such_weights(bound: Bound, wanted: bool | str) -> str:
    names = [weights.name for weights in published(bound.component, bound.complete_parameters())]
    named = "no published weights" if wanted is True else f"no published weights {wanted!r}"
    near = near_names(str(wanted), names)
    hint = f"did you mean {near}?" if near else f"there are: {', '.join(names)}"
    return f"{bound.label} has {named} -- {hint if names else 'give a file or a URL of weights'}"


def _fetch(source: Source, progress: Progress | None) -> Mapping[str, Tensor]:
    """Read the tensors of a source, downloaded if they are not here yet."""
    if isinstance(source, Path):
        return read_tensors(source)
    if isinstance(source, Weights):
        return read_tensors(source.fetch(progress))
    file = download([source], progress=progress)
    try:
        return read_tensors(file)
    except CheckpointError:
        if not digest_in(source):  # nothing has told yet that this is the file: the next try fetches it again
            file.unlink(missing_ok=True)
        raise


def check_most_fit(match: Match, backbone: nn.Module, label: str, named: str) -> tuple[int, int]:
    """Return how many of a backbone's tensors fit, and of how many. Raises CheckpointError for fewer than half."""
    fitting, total = len(counted(match.fitting)), len(counted(backbone.state_dict()))
    if fitting < total / 2:
        example = list_some(list(match.unused), 3) or "nothing"
        raise CheckpointError(
            f"{named}: only {fitting} of the {total} tensors of {label} are in it, "
            f"with the right shape (it has {example}) -- these are weights of another model"
        )
    return fitting, total


def check_finite(tensors: Mapping[str, Tensor], named: str) -> None:
    """Raise CheckpointError when weights are not numbers: a model would learn nothing from them."""
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"{named}: holds values that are not finite, in {list_some(broken, 3)} "
            "-- the file is damaged, or from a training that diverged"
        )


def describe_match(match: Match, num_classes: int) -> Iterator[str]:
    """Say what was changed to fit, what was left as initialised, and what was not used."""
    yield from _adaptations(match)
    head = [name for name in match.unused if name.split(".")[0] in _HEADS]
    matrices = [match.unused[name] for name in head if len(match.unused[name]) > 1]
    if matrices:
        given = matrices[-1][0]
        if given == num_classes:
            yield f"head not loaded: nothing says that its {given} classes are these"
        else:
            yield f"head replaced: {given} -> {num_classes} classes"
    left = {"of another shape": match.misshapen, "not in the file": match.missing}
    for why, names in left.items():
        if names:
            yield f"left as initialised, {why}: {list_some(names)}"
    unused = [name for name in match.unused if not (matrices and name in head)]
    if unused:
        yield f"not used: {list_some(unused)}"


def _adaptations(match: Match) -> Iterator[str]:
    """Say what was adapted; tables of the same kind in every block on one line."""
    others = []
    for name, (old, new) in match.adapted.items():
        if len(old) == 4 and old[1] == 3 != new[1] and old[0] == new[0] and old[2:] == new[2:]:
            yield f"first convolution adapted: 3 -> {new[1]} channels"
        elif "pos" in name and (sides := _grid_sides(old, new)) is not None:
            yield "position embedding adapted: {0}x{0} -> {1}x{1}".format(*sides)
        else:
            others.append(f"{name} ({'x'.join(map(str, old))} -> {'x'.join(map(str, new))})")
    if others:
        yield f"resized: {list_some(others, 3)}"


def _grid_sides(old: torch.Size, new: torch.Size) -> tuple[int, int] | None:
    """Return the sides of two square grids of position embeddings (1, extra tokens + H * W, C)."""
    if len(old) != 3:
        return None
    most = min(3, old[1], new[1])  # no extra token, a class token, or also a distillation token
    for num_extra in range(most):
        sides = [math.isqrt(shape[1] - num_extra) for shape in (old, new)]
        if all(side**2 + num_extra == shape[1] for side, shape in zip(sides, (old, new), strict=True)):
            return sides[0], sides[1]
    return None
