"""Learning rates as pure functions of the step, so that resuming cannot drift.

A scheduler component gets `num_steps` and `steps_per_epoch` and returns a schedule: from a step, counted from
0, to the factor that every parameter group's own rate is multiplied by.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from clscli.spec import ResolvedSpec

Schedule = Callable[[int], float]
# Left out: a twentieth of the run.
Warmup = Annotated[float, Field(ge=0)] | None
Fraction = Annotated[float, Field(ge=0, le=1)]


def build_schedule(spec: ResolvedSpec, steps_per_epoch: int) -> Schedule:
    """Build the schedule that a spec asks for."""
    num_steps = spec.spec.train.epochs * steps_per_epoch
    bound = spec.one("scheduler")
    schedule: Schedule = spec.construct(bound, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
    return schedule


def constant(num_steps: int, steps_per_epoch: int, *, warmup_epochs: Warmup = None) -> Schedule:
    """Keep the rate as it is, after a linear warmup."""
    warmup = _warmup_steps(warmup_epochs, num_steps, steps_per_epoch)
    return _with_warmup(lambda step: 1.0, warmup)


def cosine(
    num_steps: int, steps_per_epoch: int, *, warmup_epochs: Warmup = None, min_factor: Fraction = 0.0
) -> Schedule:
    """Lower the rate along half a cosine, after a linear warmup (Loshchilov and Hutter, 2017).

    It ends at `min_factor` times the rate.
    """
    warmup = _warmup_steps(warmup_epochs, num_steps, steps_per_epoch)

    def factor(step: int) -> float:
        progress = min(max(step - warmup, 0) / (num_steps - warmup), 1.0)
        return min_factor + (1 - min_factor) * (1 + math.cos(math.pi * progress)) / 2

    return _with_warmup(factor, warmup)


def step(
    num_steps: int,
    steps_per_epoch: int,
    *,
    step_size: Annotated[int, Field(ge=1)] = 30,
    gamma: Fraction = 0.1,
    warmup_epochs: Warmup = None,
) -> Schedule:
    """Multiply the rate by `gamma` every `step_size` epochs, after a linear warmup."""
    warmup = _warmup_steps(warmup_epochs, num_steps, steps_per_epoch)
    return _with_warmup(lambda step: gamma ** (step // steps_per_epoch // step_size), warmup)


def multi_step(
    num_steps: int,
    steps_per_epoch: int,
    *,
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = (30, 60, 80),
    gamma: Fraction = 0.1,
    warmup_epochs: Warmup = None,
) -> Schedule:
    """Multiply the rate by `gamma` at each of the `milestones`, in epochs, after a linear warmup."""
    warmup = _warmup_steps(warmup_epochs, num_steps, steps_per_epoch)
    epochs = sorted(milestones)
    return _with_warmup(lambda step: gamma ** bisect.bisect_right(epochs, step // steps_per_epoch), warmup)


def _warmup_steps(warmup_epochs: float | None, num_steps: int, steps_per_epoch: int) -> int:
    if warmup_epochs is None:
        return num_steps // 20
    steps = round(warmup_epochs * steps_per_epoch)
    if steps >= num_steps:
        epochs = num_steps / steps_per_epoch
        raise ValueError(f"warmup_epochs is {warmup_epochs:g}, but the whole run has {epochs:g} epochs")
    return steps


def _with_warmup(schedule: Schedule, num_steps: int) -> Schedule:
    """Let the rate rise linearly over `num_steps` to what `schedule` says there, and follow it from then on."""
    return lambda step: schedule(step) * min(1.0, (step + 1) / (num_steps + 1))
