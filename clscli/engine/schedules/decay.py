"""Schedules that only ever lower the rate.

Those that run towards an end (linear, poly, cosine) begin when the warmup is over; those that count epochs count
from the start of the run.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from clscli.engine.schedules.warmup import Fraction, WarmedUp
from clscli.models.fields import PositiveFloat, PositiveInt


@dataclass(kw_only=True)
class Constant(WarmedUp):
    """Keep the rate as it is, after a warmup.

    The warmup of this and other schedules takes `warmup_epochs` or `warmup_steps`; if neither is given, a
    twentieth of the run. A `linear` or `exponential` one grows to the rate from `warmup_start_factor` times it,
    by default from 1 / (n + 1) over n steps; a `constant` one is `warmup_start_factor` times it, by default a
    third as in torch.
    """

    def height(self, step: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(kw_only=True)
class Linear(WarmedUp):
    """Lower the rate along a line, after a warmup.

    It ends at `min_factor` times the rate.
    """

    min_factor: Fraction = 0.0

    def height(self, step: int) -> float:
        """Return the height of the line."""
        return self.min_factor + (1 - self.min_factor) * (1 - self.progress(step))


@dataclass(kw_only=True)
class Poly(WarmedUp):
    """Lower the rate along a power of what is left of the run, after a warmup.

    It ends at `min_factor` times the rate. A power of 2 is what LARS came with (You et al., "Large Batch Training
    of Convolutional Networks", 2017).
    """

    power: PositiveFloat = 2.0
    min_factor: Fraction = 0.0

    def height(self, step: int) -> float:
        """Return the height of the curve."""
        return float(self.min_factor + (1 - self.min_factor) * (1 - self.progress(step)) ** self.power)


@dataclass(kw_only=True)
class Cosine(WarmedUp):
    """Lower the rate along half a cosine, after a warmup (Loshchilov and Hutter, 2017).

    It ends at `min_factor` times the rate.
    """

    min_factor: Fraction = 0.0

    def height(self, step: int) -> float:
        """Return the height of the curve."""
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * self.progress(step))) / 2


@dataclass(kw_only=True)
class Step(WarmedUp):
    """Multiply the rate by `gamma` every `step_size` epochs, after a warmup."""

    step_size: PositiveInt = 30
    gamma: Fraction = 0.1

    def height(self, step: int) -> float:
        """Return the height of the stair."""
        return float(self.gamma ** (step // self.steps_per_epoch // self.step_size))


@dataclass(kw_only=True)
class MultiStep(WarmedUp):
    """Multiply the rate by `gamma` at each of the `milestones`, in epochs, after a warmup."""

    milestones: tuple[PositiveInt, ...] = (30, 60, 80)
    gamma: Fraction = 0.1

    def height(self, step: int) -> float:
        """Return the height of the stair."""
        passed = bisect.bisect_right(sorted(self.milestones), step // self.steps_per_epoch)
        return float(self.gamma**passed)


@dataclass(kw_only=True)
class Exponential(WarmedUp):
    """Multiply the rate by `gamma` in every epoch, a little at each step, after a warmup."""

    gamma: Annotated[float, Field(gt=0, le=1)] = 0.97

    def height(self, step: int) -> float:
        """Return the height of the curve."""
        return float(self.gamma ** (step / self.steps_per_epoch))
