"""A schedule that does not need to know when the run ends."""

import math
from typing import Annotated

from pydantic import Field


class InverseSqrt:
    """Lower the rate with the square root of the steps taken, after a warmup along a line.

    Vaswani et al., "Attention is all you need", 2017. The rate is the optimizer's own at the end of the warmup,
    half of it after four times as many epochs, and does not depend on how long the run is.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        *,
        warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0,
    ) -> None:
        self.warmup_steps = max(1, round(warmup_epochs * steps_per_epoch))

    def __call__(self, step: int) -> float:
        """Return the factor at a step, counted from 0: of the step alone, so that a resumed run is the same."""
        taken = step + 1
        return min(taken / self.warmup_steps, math.sqrt(self.warmup_steps / taken))
