"""What is checked of schedulers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clscli.testing.case import Case, RuleError, saved_and_loaded

_NUM_STEPS, _STEPS_PER_EPOCH = 100, 10


class SchedulerCase(Case):
    """A schedule of a run of ten epochs."""

    injected: Mapping[str, Any] = {
        "num_steps": _NUM_STEPS,
        "steps_per_epoch": _STEPS_PER_EPOCH,
        "train_monitor": "top1",
    }

    def check_factors(self) -> None:
        """Ask for the factor of every step."""
        schedule = self.build()
        for step in range(_NUM_STEPS):
            factor = schedule(step)
            if not (isinstance(factor, int | float) and math.isfinite(factor) and factor >= 0):
                raise RuleError(
                    f"at step {step} of {_NUM_STEPS} it returns {factor!r}",
                    "return a float that is not negative: the rate is multiplied by it",
                    is_fatal=True,
                )

    def check_pure(self) -> None:
        """Ask for the steps in another order."""
        forwards, schedule = self.build(), self.build()
        expected = [forwards(step) for step in range(_NUM_STEPS)]
        for step in reversed(range(_NUM_STEPS)):
            factor = schedule(step)
            if factor != expected[step]:
                raise RuleError(
                    f"step {step} has the factor {expected[step]:g} in one order and {factor:g} in another",
                    "compute it from the step: a run that is resumed begins anywhere",
                )

    def check_momentum(self) -> None:
        """Ask for the momentum of every step."""
        schedule = self.build()
        if not hasattr(schedule, "momentum"):
            return
        momenta = [schedule.momentum(step) for step in range(_NUM_STEPS)]
        if all(momentum is None for momentum in momenta):
            return
        for step, momentum in enumerate(momenta):
            if not (isinstance(momentum, int | float) and 0 <= momentum <= 1):
                raise RuleError(
                    f"momentum({step}) is {momentum!r}", "return a float from 0 to 1, or None at all steps"
                )

    def check_observe(self) -> None:
        """Go on from a saved state after some validations."""
        schedule = self.build()
        if not hasattr(schedule, "observe"):
            return
        missing = [name for name in ("state_dict", "load_state_dict") if not hasattr(schedule, name)]
        if missing:
            raise RuleError(
                f"it has no {' and no '.join(missing)}", "keep there what it has observed", is_fatal=True
            )
        for value in (0.5, 0.4, 0.6, *[0.6] * 12):
            schedule.observe(_metrics(value))
        other = self.build()
        other.load_state_dict(saved_and_loaded(schedule.state_dict()))
        for value in (0.6, 0.1):
            ours, theirs = ([s(step) for step in range(_NUM_STEPS)] for s in (schedule, other))
            if ours != theirs:
                raise RuleError(
                    "one that loads its state returns other factors", "keep in it all that it has observed"
                )
            schedule.observe(_metrics(value))
            other.observe(_metrics(value))


def _metrics(value: float) -> Mapping[str, float]:
    """Return what a validation may have come to."""
    return dict.fromkeys(("top1", "top5", "balanced_accuracy", "macro_f1"), value) | {"loss": 1 - value}
