"""From a checked spec to a model: inject channels and classes, and prove the shapes before any data is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clscli.errors import PluginError
from clscli.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, Normalize
from clscli.models.initialization import initialize
from clscli.models.layers.outputs import Outputs
from clscli.models.losses.contract import LoadTeacher, Loss
from clscli.models.losses.total import TotalLoss
from clscli.signature import wants_all
from clscli.spec import Bound, ResolvedSpec
from clscli.spec.schema import MeanStd

Channels = int | tuple[int, ...]


@dataclass(frozen=True)
class Blueprint:
    """What a model is to be built for; everything else stands in the spec."""

    num_classes: int
    image_shape: tuple[int, int, int]  # (C, H, W) after the eval transforms


@dataclass(frozen=True)
class Stage:
    """One row of the shape report: a part's name and the shapes of its outputs."""

    name: str
    shapes: tuple[tuple[int, ...], ...]


def build_model(spec: ResolvedSpec, blueprint: Blueprint) -> Classifier:
    """Build a classifier on the CPU, with weights drawn by its components, or as their `init` says.

    For pretrained ones see `weights.py`. Raises SpecError pointing at the component that refuses its
    parameters.
    """
    in_channels = blueprint.image_shape[0]
    normalize = _normalize(spec, in_channels)
    backbone = _build_part(spec, spec.one("model", "backbone"), in_channels=in_channels)
    channels = _out_channels(spec.one("model", "backbone"), backbone)
    necks = []
    for bound in spec.many("model", "neck"):
        neck = _build_part(spec, bound, in_channels=_channels_for(bound, channels))
        channels = _out_channels(bound, neck)
        necks.append(neck)
    bound = spec.one("model", "head")
    injected = {"in_channels": _channels_for(bound, channels), "num_classes": blueprint.num_classes}
    head = _build_part(spec, bound, **injected)
    return Classifier(normalize, backbone, necks, head)


def _build_part(spec: ResolvedSpec, bound: Bound, **injected: Any) -> nn.Module:
    """Construct a component, and draw its weights anew if its table has an `init`: several in their order."""
    part: nn.Module = spec.construct(bound, **injected)
    if not isinstance(part, nn.Module):
        raise PluginError(
            f"{bound.component} breaks its contract: it must be a torch.nn.Module, not {type(part).__name__}"
        )
    if "_modules" not in vars(part):  # any use of such a module fails, with a text about this attribute
        raise PluginError(
            f"{bound.component} breaks its contract: its __init__ must begin with super().__init__()"
        )
    path, init = (*bound.path, "init"), bound.builder.get("init", [])
    tables = {path: init} if isinstance(init, dict) else {(*path, i): table for i, table in enumerate(init)}
    for at, table in tables.items():
        try:
            initialize(part, table)
        except ValueError as error:
            raise spec.error(at, f"{bound.label}: {error}") from error
    return part


def build_loss(
    spec: ResolvedSpec,
    class_counts: tuple[int, ...],
    load_teacher: LoadTeacher | None = None,
    *,
    num_samples: int | None = None,
) -> Loss:
    """Build the loss, or the sum of those that the spec lists; `class_counts` are those of the training split.

    `num_samples` is the sum of these counts, unless samples have several labels. Without `load_teacher` it can
    evaluate, but no teacher is asked. Raises SpecError pointing at the loss that refuses its parameters.
    """
    injected = {
        "num_classes": len(class_counts),
        "class_counts": class_counts,
        "num_samples": sum(class_counts) if num_samples is None else num_samples,
        "load_teacher": load_teacher,
    }
    losses: list[Loss] = [spec.construct(bound, **injected) for bound in spec.many("model", "loss")]
    if len(losses) == 1:
        return losses[0]
    try:
        return TotalLoss(losses)
    except ValueError as error:
        raise spec.error(("model", "loss"), str(error)) from None


def _normalize(spec: ResolvedSpec, in_channels: int) -> Normalize:
    chosen = spec.spec.transforms.normalize
    if isinstance(chosen, MeanStd):
        mean, std = chosen.mean, chosen.std
    elif chosen == "imagenet" and in_channels == 1:  # ImageNet in gray: the same pictures, one channel
        mean, std = [sum(IMAGENET_MEAN) / 3], [sum(IMAGENET_STD) / 3]
    elif chosen == "imagenet":
        mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
    else:
        mean, std = [0.0], [1.0]
    for key, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in (1, in_channels):
            raise spec.error(
                ("transforms", "normalize"),
                f"{key} has {len(numbers)} values, but the images have {in_channels} channels",
            )
    return Normalize(mean, std)


def _out_channels(bound: Bound, module: nn.Module) -> Channels:
    channels = getattr(module, "out_channels", None)
    if isinstance(channels, list):
        channels = tuple(channels)
    if isinstance(channels, int) or (isinstance(channels, tuple) and channels):
        return channels
    raise PluginError(
        f"{bound.component} breaks its contract: it needs an attribute out_channels, one int or a tuple of "
        f"them, one for each output, and has {channels!r}"
    )


def _channels_for(bound: Bound, channels: Channels) -> Channels:
    every = (channels,) if isinstance(channels, int) else channels
    wants_tuple = bound.takes("in_channels") and wants_all(bound.function, "in_channels")
    return every if wants_tuple else every[-1]


def check_shapes(spec: ResolvedSpec, model: Classifier, blueprint: Blueprint) -> list[Stage]:
    """Run a model on the meta device, which computes shapes and no numbers; return the shape of every part.

    Raises SpecError when a part cannot take what the one before it gives, PluginError when one breaks its
    contract.
    """
    model.eval()
    outputs: Outputs = torch.empty(2, *blueprint.image_shape, device="meta")
    stages = [Stage("images", _shapes(outputs))]
    bounds = [spec.one("model", "backbone"), *spec.many("model", "neck")]
    for bound, part in zip(bounds, [model.backbone, *model.necks], strict=True):
        outputs = _run(spec, bound, part, outputs, stages[-1])
        _check_channels(bound, outputs, _out_channels(bound, part))
        stages.append(Stage(bound.label, _shapes(outputs)))
    bound = spec.one("model", "head")
    logits = _run(spec, bound, model.head, outputs, stages[-1])
    _check_logits(bound, logits, blueprint)
    return [*stages, Stage(bound.label, _shapes(logits))]


def _run(spec: ResolvedSpec, bound: Bound, part: nn.Module, given: Outputs, before: Stage) -> Outputs:
    """Compute the shapes of a part's outputs: on the meta device, or with zeros where that cannot be done."""
    try:
        state = {k: v.to("meta") for k, v in (*part.named_parameters(), *part.named_buffers())}
        with torch.no_grad():
            return _on_meta(bound, torch.func.functional_call(part, state, (given,)))
    except Exception:  # an operator without shapes, a tensor that is no buffer, or a misfit: real zeros tell
        pass
    try:
        with torch.no_grad():
            zeros = tuple(torch.zeros(shape) for shape in before.shapes)
            outputs = part(zeros if isinstance(given, tuple) else zeros[0])
    except Exception as error:
        shapes = " and ".join(f"({', '.join(map(str, s[1:]))})" for s in before.shapes)
        reason = _first_line(error)
        raise spec.error(
            bound.path, f"{bound.label} cannot take what {before.name} gives, {shapes}: {reason}"
        ) from error
    return _on_meta(bound, outputs)


def _on_meta(bound: Bound, outputs: Outputs) -> Outputs:
    if isinstance(outputs, Tensor):
        return outputs.to("meta")
    if isinstance(outputs, tuple) and outputs and all(isinstance(output, Tensor) for output in outputs):
        return tuple(output.to("meta") for output in outputs)
    inner = f" of {type(outputs[0]).__name__}" if isinstance(outputs, tuple) and outputs else ""
    raise PluginError(
        f"{bound.component} breaks its contract: it must return a tensor or a tuple of tensors, "
        f"not {type(outputs).__name__}{inner}"
    )


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def _check_channels(bound: Bound, outputs: Outputs, promised: Channels) -> None:
    every = _as_tuple(outputs)
    found = tuple(output.shape[1] for output in every)
    expected = (promised,) if isinstance(promised, int) else promised
    if found != expected:
        raise PluginError(
            f"{bound.component} breaks its contract: out_channels says {_list(expected)}, "
            f"but its outputs have {_list(found)} channels"
        )


def _check_logits(bound: Bound, outputs: Outputs, blueprint: Blueprint) -> None:
    for logits in _as_tuple(outputs):
        if tuple(logits.shape) != (2, blueprint.num_classes):
            raise PluginError(
                f"{bound.component} breaks its contract: it gives {tuple(logits.shape)} for 2 images and "
                f"{blueprint.num_classes} classes, and should give (2, {blueprint.num_classes})"
            )


def _as_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _shapes(outputs: Outputs) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(output.shape) for output in _as_tuple(outputs))


def _list(numbers: Sequence[int]) -> str:
    return " and ".join(str(n) for n in numbers)
