"""Lower the rate when nothing gets better any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from clscli.engine.monitor import sign_of
from clscli.engine.schedules.warmup import Fraction, WarmedUp
from clscli.models.fields import Count, Rate
from clscli.spec.schema import Monitor

# What torch's scheduler changes as it goes; the rest of its state are the parameters.
_KEPT = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


@dataclass(kw_only=True)
class ReduceOnPlateau(WarmedUp):
    """Multiply the rate by `factor` when a validation metric stops improving, after a warmup.

    That is when more than `patience` validations in a row were no better than the best so far: by more than
    `threshold`, which is a part of the best (`rel`) or a difference (`abs`). The next `cooldown` validations do
    not count. It never falls below `min_factor` times the rate. The metric is `monitor`, by default that of the
    run, `train.monitor`; for the loss, smaller is better.
    """

    monitor: Monitor | None = None
    train_monitor: Monitor = "top1"  # injected
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Count = 10
    threshold: Rate = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Count = 0
    min_factor: Fraction = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._metric = self.monitor or self.train_monitor
        # torch's own does the counting; the optimizer is one for it alone, whose rate is the factor.
        self._optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        self._torch = ReduceLROnPlateau(
            self._optimizer,
            mode="max" if sign_of(self._metric) > 0 else "min",
            factor=self.factor,
            patience=self.patience,
            threshold=self.threshold,
            threshold_mode=self.threshold_mode,
            cooldown=self.cooldown,
            min_lr=self.min_factor,
            eps=0.0,
        )

    def height(self, step: int) -> float:
        """Return what the validations so far have led to, at any step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def observe(self, metrics: dict[str, float]) -> None:
        """Take in the metrics of a validation."""
        self._torch.step(metrics[self._metric])

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume."""
        return {"factor": self.height(0), **{name: getattr(self._torch, name) for name in _KEPT}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self._optimizer.param_groups[0]["lr"] = state["factor"]
        for name in _KEPT:
            setattr(self._torch, name, state[name])
