"""Schedules that raise the rate again, or first of all; two of them move the momentum the other way.

With momentum, a low one goes with a high rate: the optimizer's own is not used, unless `cycle_momentum` is false.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from pydantic import Field

from clscli.engine.schedules.warmup import Fraction, WarmedUp
from clscli.models.fields import PositiveFloat, PositiveInt, Rate


@dataclass(kw_only=True)
class CosineRestarts(WarmedUp):
    """Lower the rate along half a cosine again and again, after a warmup (SGDR).

    The first cycle takes `t_0` epochs, and each one after it `t_mult` times as long as the one before; each ends
    at `min_factor` times the rate. For the last to end with the run, `train.epochs` has to be their sum.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.
    """

    t_0: PositiveFloat = 10.0
    t_mult: PositiveInt = 1
    min_factor: Fraction = 0.0

    def height(self, step: int) -> float:
        """Return the height of the curve."""
        into, length = self._place(max(step - self.num_warmup_steps, 0))
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * into / length)) / 2

    def _place(self, step: int) -> tuple[int, int]:
        """Return how far a step is into its cycle, and how long that is."""
        length = max(1, round(self.t_0 * self.steps_per_epoch))
        if self.t_mult == 1:
            return step % length, length
        while step >= length:
            step, length = step - length, length * self.t_mult
        return step, length


@dataclass
class OneCycle:
    """Raise the rate from a fraction of it, then lower it to almost nothing: one cycle over the whole run.

    It begins with the rate divided by `div_factor`, reaches the rate after `pct_start` of the run, and ends at
    what it began with divided by `final_div_factor`. With `three_phase`, it first takes as long to fall back as
    it took to rise. The momentum goes from `max_momentum` to `base_momentum` and back. There is no other
    warmup.

    Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018.
    """

    num_steps: int
    _: KW_ONLY
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3
    anneal: Literal["cosine", "linear"] = "cosine"
    div_factor: PositiveFloat = 25.0
    final_div_factor: PositiveFloat = 1e4
    three_phase: bool = False
    cycle_momentum: bool = True
    base_momentum: Rate = 0.85
    max_momentum: Rate = 0.95

    def __post_init__(self) -> None:
        if self.three_phase and self.pct_start > 0.5:
            raise ValueError(f"rising and falling back take 2 x pct_start of the run, got {self.pct_start:g}")

    def __call__(self, step: int) -> float:
        """Return the factor of the learning rate at a step."""
        start = 1 / self.div_factor
        return self._between(step, start, 1.0, start, start / self.final_div_factor)

    def momentum(self, step: int) -> float | None:
        """Return the momentum at a step."""
        if not self.cycle_momentum:
            return None
        high = self.max_momentum
        return self._between(step, high, self.base_momentum, high, high)

    def _between(self, step: int, start: float, peak: float, back: float, end: float) -> float:
        """Go from `start` to `peak`, with three phases `back` again, and to `end` with the last step."""
        rise, last = self.pct_start * self.num_steps - 1, self.num_steps - 1
        fall = 2 * rise if self.three_phase else rise
        if step < rise:
            return self._anneal(start, peak, step / rise)
        if step < fall:
            return self._anneal(peak, back, (step - rise) / (fall - rise))
        return self._anneal(back if self.three_phase else peak, end, (step - fall) / (last - fall))

    def _anneal(self, start: float, end: float, part: float) -> float:
        part = min(part, 1.0)
        if self.anneal == "linear":
            return start + (end - start) * part
        return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


@dataclass
class Cyclic:
    """Raise and lower the rate along lines between a fraction of it and itself, over and over (CLR).

    It begins at `min_factor` times the rate, rises for `up_epochs` and falls for `down_epochs`, by default for
    as many. How high it rises stays the same (`triangular`), halves with every cycle (`triangular2`), or is
    multiplied by `gamma` in every epoch (`exp_range`). The momentum moves from `max_momentum` towards
    `base_momentum` and back.

    Smith, "Cyclical Learning Rates for Training Neural Networks", 2017.
    """

    num_steps: int
    steps_per_epoch: int
    _: KW_ONLY
    # The paper's advice: 2 to 10 epochs, from a quarter of the highest rate (sections 3.2 and 3.3).
    up_epochs: PositiveFloat = 4.0
    down_epochs: PositiveFloat | None = None
    min_factor: Fraction = 0.25
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.97
    cycle_momentum: bool = True
    base_momentum: Rate = 0.8
    max_momentum: Rate = 0.9

    def __call__(self, step: int) -> float:
        """Return the factor of the learning rate at a step."""
        return self.min_factor + (1 - self.min_factor) * self._height(step)

    def momentum(self, step: int) -> float | None:
        """Return the momentum at a step."""
        if not self.cycle_momentum:
            return None
        return self.max_momentum - (self.max_momentum - self.base_momentum) * self._height(step)

    def _height(self, step: int) -> float:
        """Return how far between its ends the rate is, from 0 to 1."""
        up = self.up_epochs * self.steps_per_epoch
        down = up if self.down_epochs is None else self.down_epochs * self.steps_per_epoch
        cycle, into = divmod(step, up + down)
        triangle = into / up if into <= up else (up + down - into) / down
        if self.mode == "triangular2":
            return float(triangle / 2**cycle)
        if self.mode == "exp_range":
            return float(triangle * self.gamma ** (step / self.steps_per_epoch))
        return triangle
