"""Checkpoints besides those that every run writes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from clscli.engine.hooks import HookState
from clscli.models.fields import PositiveFloat, PositiveInt


class Checkpoint:
    """Save the run every so many epochs, steps or minutes, and keep the newest `keep` of these checkpoints.

    Without it a run saves `last.pth` after every epoch, and `best.pth`. This one writes `epoch_0003.pth` or
    `step_00001200.pth` into the run directory, and `last.pth` with it, so that a run that is killed in the
    middle of a long epoch loses little: `--resume` goes on from any of them, with the same numbers as if it had
    never stopped. When nothing is set, it saves after every epoch. Steps are those of the optimizer.
    """

    main_only: ClassVar[bool] = True

    def __init__(
        self,
        *,
        every_epochs: PositiveInt | None = None,
        every_steps: PositiveInt | None = None,
        every_minutes: PositiveFloat | None = None,
        keep: PositiveInt = 3,
    ) -> None:
        nothing_set = every_epochs is None and every_steps is None and every_minutes is None
        self.every_epochs = 1 if nothing_set else every_epochs
        self.every_steps = every_steps
        self.every_seconds = None if every_minutes is None else 60 * every_minutes
        self.keep = keep
        self.written: list[str] = []  # names, the oldest first
        self.saved_at = 0.0

    def on_run_start(self, state: HookState) -> None:
        """Start the clock."""
        self.saved_at = time.monotonic()

    def on_step_end(self, state: HookState) -> None:
        """Save in the middle of an epoch, if it is time."""
        is_step = self.every_steps is not None and state.step % self.every_steps == 0
        seconds = time.monotonic() - self.saved_at
        if is_step or (self.every_seconds is not None and seconds >= self.every_seconds):
            self._save(state, f"step_{state.step:08}.pth")

    def on_epoch_end(self, state: HookState) -> None:
        """Save after an epoch, if it is time."""
        if self.every_epochs is not None and (state.epoch + 1) % self.every_epochs == 0:
            self._save(state, f"epoch_{state.epoch + 1:04}.pth")

    def _save(self, state: HookState, name: str) -> None:
        self.saved_at = time.monotonic()
        self.written = [*(other for other in self.written if other != name), name]
        state.save(state.run / name)
        # Before the new one is written, but last.pth is there all the time.
        while len(self.written) > self.keep:
            (Path(state.run) / self.written.pop(0)).unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume."""
        return {"written": self.written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.written = list(state["written"])
