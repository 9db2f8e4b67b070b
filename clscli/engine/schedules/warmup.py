"""A small learning rate at first, for all schedules that do not begin with one anyway."""

# Without `annotations` from the future: the signatures of subclasses, in other modules, have these types, too.

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from clscli.models.fields import Count

# Left out with `warmup_steps`: a twentieth of the run.
Epochs = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
Ramp = Literal["linear", "constant", "exponential"]
Start = Annotated[float, Field(gt=0, lt=1)] | None
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass
class WarmedUp(ABC):
    """A schedule that follows `height` once its warmup is over, and until then a part of it that grows.

    What the parameters mean is said where users find it, at `Constant`.
    """

    num_steps: int
    steps_per_epoch: int
    _: KW_ONLY
    warmup_epochs: Epochs = None
    warmup_steps: Count | None = None
    warmup: Ramp = "linear"
    warmup_start_factor: Start = None

    def __post_init__(self) -> None:
        if self.warmup_epochs is not None and self.warmup_steps is not None:
            given = f"{self.warmup_epochs:g} and {self.warmup_steps}"
            raise ValueError(f"give warmup_epochs or warmup_steps, not both, got {given}")
        if self.num_warmup_steps < self.num_steps:
            return
        if self.warmup_steps is not None:
            raise ValueError(f"warmup_steps is {self.warmup_steps}, but the whole run has {self.num_steps} steps")
        epochs = self.num_steps / self.steps_per_epoch
        raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}, but the whole run has {epochs:g} epochs")

    def __call__(self, step: int) -> float:
        """Return the factor of the learning rate at a step."""
        return self.height(step) * self._warmup_factor(step)

    @abstractmethod
    def height(self, step: int) -> float:
        """Return what the rate would be multiplied by at a step without a warmup."""

    def progress(self, step: int) -> float:
        """Return how much of the run after the warmup has passed, from 0 to 1."""
        warmup = self.num_warmup_steps
        return min(max(step - warmup, 0) / (self.num_steps - warmup), 1.0)

    @cached_property
    def num_warmup_steps(self) -> int:
        """The steps that the warmup takes."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        if self.warmup_epochs is not None:
            return round(self.warmup_epochs * self.steps_per_epoch)
        return self.num_steps // 20

    def _warmup_factor(self, step: int) -> float:
        length, start = self.num_warmup_steps, self.warmup_start_factor
        if step >= length:
            return 1.0
        if self.warmup == "constant":
            return 1 / 3 if start is None else start
        if self.warmup == "exponential":
            return float((1 / (length + 1) if start is None else start) ** (1 - step / length))
        # A line from 0 that began so many steps ago.
        ahead = 1 if start is None else length * start / (1 - start)
        return (step + ahead) / (length + ahead)
