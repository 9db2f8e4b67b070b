"""What a spec's schedule will do to the optimizer, known before there is a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from clscli.engine.accumulation import lr_factor
from clscli.engine.groups import build_optimizer
from clscli.engine.schedules import Observing, build_schedule, check_momentum, momentum_at
from clscli.models.build import Blueprint, build_model
from clscli.spec import ResolvedSpec

# More points than a picture has columns; a long run has a million steps.
_MAX_POINTS = 4000


@dataclass(frozen=True)
class Curve:
    """The learning rate, over the run, of all parameters that share it."""

    parameters: int
    rates: list[float]


@dataclass(frozen=True)
class Preview:
    """Learning rates and momentum over a run, at evenly spread steps, the first and the last among them."""

    scheduler: str
    num_steps: int
    steps_per_epoch: int
    steps: list[int]
    curves: list[Curve]  # the highest first
    momentum: list[float] | None
    observing: bool  # the validations will have a say in it, too

    @property
    def epochs(self) -> list[float]:
        """The steps, in epochs."""
        return [step / self.steps_per_epoch for step in self.steps]


def preview_schedule(spec: ResolvedSpec, steps_per_epoch: int) -> Preview:
    """Build what a spec asks for, but for data: rates do not depend on the number of classes, or the pictures."""
    scale = _scale(spec)
    model = build_model(spec, Blueprint(num_classes=2, image_shape=(3, 224, 224)))
    optimizer = build_optimizer(spec, model)
    schedule = build_schedule(spec, steps_per_epoch)
    check_momentum(spec, schedule, optimizer)

    parameters: Counter[float] = Counter()
    for group in optimizer.param_groups:
        parameters[scale * group["lr"]] += sum(p.numel() for p in group["params"])
    num_steps = spec.spec.train.epochs * steps_per_epoch
    last = num_steps - 1
    count = min(num_steps, _MAX_POINTS)
    steps = [i * last // max(1, count - 1) for i in range(count)]
    factors = [schedule(step) for step in steps]
    momentum = [momentum_at(schedule, step) for step in steps]
    return Preview(
        scheduler=spec.one("scheduler").label,
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        curves=[Curve(parameters[lr], [lr * f for f in factors]) for lr in sorted(parameters, reverse=True)],
        momentum=[m for m in momentum if m is not None] or None,
        observing=isinstance(schedule, Observing),
    )


def _scale(spec: ResolvedSpec) -> float:
    """Return what `train.scale_lr` makes of the rates; they are not known with a batch size that is not."""
    train, batch_size = spec.spec.train, spec.spec.data.batch_size
    if batch_size != "auto":
        return lr_factor(batch_size, train)
    if train.scale_lr == "none":
        return 1.0
    raise spec.error(
        ("data", "batch_size"), "is found when training starts, and scale_lr needs it -- set a number"
    )
