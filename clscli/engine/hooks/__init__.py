"""Hooks: what happens around the loop, at six events.

A hook component is an object with any of the methods `on_run_start`, `on_epoch_start`, `on_step_end`,
`on_validation_end`, `on_epoch_end` and `on_run_end`, each called with the `HookState`. A validation may be in the
middle of an epoch; one at its end comes before `on_epoch_end`, or just after it when a hook has stopped the run
there. Hooks with a smaller `priority` (default 0) run first. A hook that must survive `--resume` has
`state_dict()` and `load_state_dict(state)`, of tensors and plain values.

With several processes, hooks run in each of them, but what they ask for counts in process 0 alone: all others do
the same. A hook that writes files, or talks to a service, sets `main_only = True`, and runs in process 0 alone.
One that runs everywhere must not wait for the others, nor raise Interrupted itself: that is what
`state.interrupt` is for. In a checkpoint are the states of process 0's hooks.

With `train.strategy = "fsdp"`, each process has a part of every weight. A hook that keeps a copy of the model
takes it from `state.copy_model()`; one that needs all weights in one process sets `needs_whole_model = True`, and
such a run refuses it.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, optim

from clscli.errors import ClscliError, PluginError, describe
from clscli.models.classifier import Classifier
from clscli.plugins import near_names
from clscli.spec import Bound

if TYPE_CHECKING:
    from clscli.engine.sharding import Sharding

log = logging.getLogger("clscli")

_EVENTS = ("on_run_start", "on_epoch_start", "on_step_end", "on_validation_end", "on_epoch_end", "on_run_end")


@dataclass
class HookState:
    """What a hook sees of the run, and what it can ask for: an early end, a checkpoint, another model judged."""

    model: Classifier
    optimizer: optim.Optimizer
    device: torch.device
    run: Path  # the run directory
    epochs: int  # how many the spec asks for
    monitor: str = "top1"  # the metric that makes an epoch the best
    epoch: int = 0  # the current one, from 0
    step: int = 0  # optimizer steps taken since the start of the run
    images: Tensor | None = None  # of the last training batch, on the device
    lr: float = 0.0  # of the last step, in the first parameter group
    train_loss: float = math.nan  # mean over the epoch's samples so far; known after a validation or an epoch
    images_per_second: float = math.nan  # of the epoch's training part so far; known when train_loss is
    metrics: dict[str, float] = field(default_factory=dict)  # of the last validation; empty before the first
    validated: bool = False  # whether `metrics` are of the weights as they are: no step has been taken since
    # When a hook sets it, it is what is validated and saved as best.pth: an average of weights, for example.
    eval_model: Classifier | None = None
    stop_reason: str | None = None
    interruption: str | None = None  # why to stop now
    is_main: bool = True  # whether this is process 0, the one that writes
    wanted: list[Path] = field(default_factory=list)  # checkpoints that hooks have asked for
    sharding: Sharding | None = None  # how the model is divided between processes; None: each has all of it

    def stop(self, reason: str) -> None:
        """End the run after this epoch; the reason is logged."""
        self.stop_reason = reason

    def interrupt(self, reason: str) -> None:
        """Stop the run after this event, as Ctrl-C does: saved, to be resumed."""
        self.interruption = reason

    def save(self, path: Path) -> None:
        """Ask for a checkpoint from which `--resume` goes on just after this step or epoch, and for `last.pth`.

        It is written once every hook has seen the event, so that what they keep is of the same moment.
        """
        self.wanted.append(path)

    def copy_model(self, weights: Mapping[str, Tensor] | None = None) -> Classifier:
        """Return a copy of the model that is not trained, with its weights or other, whole ones."""
        copied = copy.deepcopy(self.model) if self.sharding is None else self.sharding.copy(self.model)
        if weights is not None and self.sharding is not None:
            self.sharding.load_weights(copied, weights)
        elif weights is not None:
            copied.load_state_dict(weights)
        return copied.requires_grad_(False).eval()

    def log(self, message: str) -> None:
        """Print a line, and write it to train.log."""
        log.info("%s", message)


def find_no_event(hook: object) -> tuple[str, str] | None:
    """Tell why a hook, or a method of it, would never be called, and what to do; None where all are."""
    methods = [name for name in dir(hook) if name.startswith("on_")]
    known = ", ".join(_EVENTS)
    for name in sorted(set(methods) - set(_EVENTS)):
        near = near_names(name, _EVENTS)
        return f"nothing ever calls {name}", f"did you mean {near}?" if near else f"the events are {known}"
    return None if methods else ("it has no event", f"give it one of {known}")


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
            if method is None or (getattr(hook, "main_only", False) and not state.is_main):
                continue
            try:
                method(state)
            except ClscliError:
                raise
            except Exception as error:
                raise PluginError(f"{bound.component} failed in {event}: {describe(error)}") from error

    def state(self) -> list[Any]:
        """Collect what the hooks want to keep, in the order of the spec's priorities; None for the others.

        Raises PluginError for what could be saved, but never loaded again.
        """
        states = [hook.state_dict() if hasattr(hook, "state_dict") else None for _, hook in self.hooks]
        for (bound, _), state in zip(self.hooks, states, strict=True):
            if strange := _not_plain(state):
                raise PluginError(
                    f"{bound.component} breaks its contract: its state_dict() must return tensors and plain "
                    f"values, and has a {strange}"
                )
        return states

    def load(self, states: Sequence[Any]) -> None:
        """Give every hook back what it kept."""
        for (_, hook), state in zip(self.hooks, states, strict=True):
            if state is not None:
                hook.load_state_dict(state)


def _not_plain(value: Any) -> str | None:
    """Name the first type in a state that a checkpoint cannot give back; None if there is none.

    Types are compared exactly: a float of NumPy's is a float, and is saved as something else.
    """
    if type(value) in (dict, OrderedDict):
        value = [*value.keys(), *value.values()]
    if type(value) in (list, tuple, set):
        return next((strange for inner in value if (strange := _not_plain(inner))), None)
    if value is None or isinstance(value, Tensor) or type(value) in (bool, int, float, str, bytes):
        return None
    return f"{type(value).__module__}.{type(value).__qualname__}"
