"""Stop in time, so that the run can be resumed."""

from __future__ import annotations

import time
from typing import Annotated, ClassVar

from pydantic import Field

from clscli.engine.hooks import HookState


class TimeLimit:
    """Stop the run after some time, saved so that `--resume` goes on where it stopped.

    For machines that are lent for a while: it ends as Ctrl-C does, between two optimizer steps, with exit code
    130. The clock starts with each start of the run, so that every resume has the whole time again. Leave room
    for what can not be interrupted: a validation, and the writing of `last.pth`. Priority 1000: the last of the
    hooks, so that all others have seen the step.
    """

    priority: ClassVar[int] = 1000

    def __init__(self, *, minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0) -> None:
        self.minutes = minutes
        self.started = 0.0

    def on_run_start(self, state: HookState) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_epoch_start(self, state: HookState) -> None:
        """Stop before an epoch if the validation has used up the time."""
        self._check(state)

    def on_step_end(self, state: HookState) -> None:
        """Stop between two steps."""
        self._check(state)

    def _check(self, state: HookState) -> None:
        if time.monotonic() - self.started >= 60 * self.minutes:
            state.interrupt(f"time limit of {self.minutes:g} minutes")
