"""Hooks: what happens around the loop, at five events.

A hook component is an object with any of the methods `on_run_start`, `on_epoch_start`, `on_step_end`,
`on_epoch_end` and `on_run_end`, each called with the `HookState`. Hooks with a smaller `priority` (default 0)
run first. A hook that must survive `--resume` has `state_dict()` and `load_state_dict(state)`, of plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn, optim

from clscli.errors import ClscliError, PluginError, describe
from clscli.spec import Bound


@dataclass
class HookState:
    """What a hook sees of the run, and the one thing that it can ask for: an early end."""

    model: nn.Module
    optimizer: optim.Optimizer
    run: Path  # the run directory
    epochs: int  # how many the spec asks for
    epoch: int = 0  # the current one, from 0
    step: int = 0  # optimizer steps taken since the start of the run
    metrics: dict[str, float] = field(default_factory=dict)  # of the last epoch
    stop_reason: str | None = None

    def stop(self, reason: str) -> None:
        """End the run after this epoch; the reason is logged."""
        self.stop_reason = reason


@dataclass(frozen=True)
class Hooks:
    """The hooks of a run, in order of priority, with the components that they come from."""

    hooks: Sequence[tuple[Bound, Any]]

    @classmethod
    def of(cls, built: Sequence[tuple[Bound, Any]]) -> Hooks:
        """Order hooks by priority; those of equal priority stay in the order of the spec."""
        return cls(sorted(built, key=lambda item: getattr(item[1], "priority", 0)))

    def fire(self, event: str, state: HookState) -> None:
        """Call one event of every hook that has it; what a hook raises is reported under its name."""
        for bound, hook in self.hooks:
            method = getattr(hook, event, None)
            if method is None:
                continue
            try:
                method(state)
            except ClscliError:
                raise
            except Exception as error:
                raise PluginError(f"{bound.component} failed in {event}: {describe(error)}") from error

    def state(self) -> list[Any]:
        """Collect what the hooks want to keep, in the order of the spec's priorities; None for the others."""
        return [hook.state_dict() if hasattr(hook, "state_dict") else None for _, hook in self.hooks]

    def load(self, states: Sequence[Any]) -> None:
        """Give every hook back what it kept."""
        for (_, hook), state in zip(self.hooks, states, strict=True):
            if state is not None:
                hook.load_state_dict(state)
