"""Stop when nothing gets better any more."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from clscli.engine.hooks import HookState
from clscli.engine.monitor import sign_of
from clscli.spec.schema import Monitor


class EarlyStopping:
    """Stop the run when a metric has not improved for `patience` validations.

    There is one an epoch, unless `train.val_every` or `train.val_every_steps` says otherwise; the epoch at hand
    is finished. The metric is `monitor`, by default that of the run, `train.monitor`. An improvement is a change
    for the better of more than `min_delta`; for the loss, smaller is better.
    """

    def __init__(
        self,
        *,
        patience: Annotated[int, Field(ge=1)] = 10,
        monitor: Monitor | None = None,
        min_delta: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.best: float | None = None
        self.waited = 0

    def on_validation_end(self, state: HookState) -> None:
        """Compare the metric with the best so far."""
        monitor = self.monitor or state.monitor
        value = state.metrics[monitor]
        if self.best is None or sign_of(monitor) * (value - self.best) > self.min_delta:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            validations = f"{self.patience} validation{'s' if self.patience > 1 else ''}"
            state.stop(f"{monitor} has not improved for {validations}")

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.best, self.waited = state["best"], state["waited"]
