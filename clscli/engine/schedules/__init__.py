"""Learning rates as pure functions of the step, so that resuming cannot drift.

A scheduler component gets `num_steps` and `steps_per_epoch` (both count optimizer steps), and if it asks for it
`train_monitor`, the metric that makes an epoch the best, and returns a schedule:
a callable from a step, counted from 0, to the factor that every parameter group's own rate is multiplied by. It
may also have

- `momentum(step)`: the momentum of SGD, or Adam's first beta, at that step, or None at all steps to leave the
  optimizer's own;
- `observe(metrics)`, called after every validation, with `state_dict` and `load_state_dict` for what it keeps.

Those of torch that are functions of the step are written as such, in torch's terms, rather than stepped:
torch's own would have to be run through all steps to know one. The tests hold each to torch's at every step.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

from torch import optim

from clscli.spec import ResolvedSpec

_TRIED_STEPS = 1000


class Schedule(Protocol):
    """The factor of the learning rate at a step."""

    def __call__(self, step: int, /) -> float: ...


@runtime_checkable
class Observing(Protocol):
    """A schedule that depends on how the validations went, and so has something to keep."""

    def observe(self, metrics: dict[str, float], /) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


def build_schedule(spec: ResolvedSpec, steps_per_epoch: int) -> Schedule:
    """Build the schedule that a spec asks for."""
    options, bound = spec.spec.train, spec.one("scheduler")
    num_steps = options.epochs * steps_per_epoch
    schedule: Schedule = spec.construct(
        bound, num_steps=num_steps, steps_per_epoch=steps_per_epoch, train_monitor=options.monitor
    )
    return schedule


def momentum_at(schedule: Schedule, step: int) -> float | None:
    """Return the momentum that a schedule asks for at a step; None if it leaves the optimizer's own."""
    momentum = getattr(schedule, "momentum", None)
    return None if momentum is None else momentum(step)


def check_momentum(spec: ResolvedSpec, schedule: Schedule, optimizer: optim.Optimizer) -> None:
    """Raise SpecError when a schedule moves a momentum that the optimizer does not have."""
    has_none = any("momentum" not in group and "betas" not in group for group in optimizer.param_groups)
    if has_none and momentum_at(schedule, 0) is not None:
        label, name = spec.one("scheduler").label, spec.one("optimizer").label
        raise spec.error(
            ("scheduler",), f"{label} moves the momentum, but {name} has none -- set cycle_momentum = false"
        )


def check_factors(spec: ResolvedSpec, schedule: Schedule, num_steps: int) -> None:
    """Raise SpecError when a factor of the learning rate is no number from 0 on; of many steps, some are tried."""
    for step in range(0, num_steps, max(1, num_steps // _TRIED_STEPS)):
        try:
            factor = float(schedule(step))
        except Exception:
            return  # it is told when the run comes to this step, with what was saved by then
        if not 0 <= factor < math.inf:
            message = f"multiplies the learning rate by {factor:g} at step {step}"
            raise spec.error(("scheduler",), f"{message} -- a factor must be a number from 0 on")


def apply_schedule(schedule: Schedule, optimizer: optim.Optimizer, step: int) -> None:
    """Set the learning rate of every parameter group for a step, and the momentum where the schedule has one."""
    factor, momentum = schedule(step), momentum_at(schedule, step)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
        if momentum is not None and "momentum" in group:
            group["momentum"] = momentum
        elif momentum is not None and "betas" in group:
            group["betas"] = (momentum, *group["betas"][1:])
