"""`init_from`: a new run that begins with the weights of another one, and with nothing else of it."""

from __future__ import annotations

from pathlib import Path

from clscli.engine.checkpoint import Checkpoint, load_checkpoint
from clscli.errors import CheckpointError
from clscli.models.classifier import Classifier
from clscli.models.matching import counted, match_weights
from clscli.models.weights import check_finite, check_most_fit, describe_match
from clscli.reports.text import list_some
from clscli.spec import ResolvedSpec

_BACKBONE = "backbone."


def find_initial(spec: ResolvedSpec) -> Checkpoint | None:
    """Open the checkpoint that a run begins from; None when the spec names none. Raises SpecError, without it."""
    path = spec.values["train"].get("init_from")
    if path is None:
        return None
    try:
        return load_checkpoint(Path(path))
    except CheckpointError as error:
        raise spec.error(("train", "init_from"), str(error)) from None


def load_initial(spec: ResolvedSpec, model: Classifier, classes: list[str], checkpoint: Checkpoint) -> list[str]:
    """Give a model the weights of a checkpoint, by name; return lines that say what was loaded and what was not.

    Raises CheckpointError when most of the backbone does not fit.
    """
    given = checkpoint.weights
    match = match_weights(
        {name.removeprefix(_BACKBONE): tensor for name, tensor in given.items() if name.startswith(_BACKBONE)},
        model.backbone,
    )
    label = spec.one("model", "backbone").label
    fitting, total = check_most_fit(match, model.backbone, label, str(checkpoint.path))
    own = {name: t for name, t in model.state_dict().items() if not name.startswith(_BACKBONE)}
    alien = {_layer(name) for name, t in own.items() if name not in given or given[name].shape != t.shape}
    rest = {name: given[name] for name in own if _layer(name) not in alien}  # a layer as a whole, or nothing of it
    check_finite({**match.fitting, **rest}, str(checkpoint.path))
    model.backbone.load_state_dict(match.fitting, strict=False)
    model.load_state_dict(rest, strict=False)

    epoch = checkpoint.metrics.get("epoch")
    lines = [
        f"a new run from the weights of {checkpoint.path}" + (f" (epoch {epoch})" if epoch else ""),
        f"{label}: loaded {fitting} of {total} tensors",
        *(f"{label}: {line}" for line in describe_match(match, len(classes))),
    ]
    left = [name for name in counted(own) if name not in rest]
    if len(checkpoint.classes) != len(classes) and any(name.startswith("head.") for name in left):
        lines.append(f"head replaced: {len(checkpoint.classes)} -> {len(classes)} classes")
    elif left:
        lines.append(f"left as initialised: {list_some(left)}")
    elif checkpoint.classes != classes:
        lines.append("note: the head keeps its weights, though the classes have other names than there")
    if spec.one("model", "backbone").builder.get("pretrained", False) is not False:
        lines.append("model.backbone.pretrained is not used: train.init_from stands above it")
    return lines


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
