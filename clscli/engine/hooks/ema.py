"""Keep an exponential moving average of the weights, and judge the training by it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clscli.engine.distributed import own_part
from clscli.engine.hooks import HookState
from clscli.models.classifier import Classifier
from clscli.models.fields import PositiveInt

_Columns = tuple[list[Tensor], list[Tensor]]


class EMA:
    """Validate and save an exponential moving average of the weights instead of the weights themselves.

    After every `every`-th optimizer step, each weight of the average becomes
    `decay * average + (1 - decay) * weight`; it begins as the weights before the first step. With `warmup` the
    decay of update t = 0, 1, ... is the smaller of `decay` and `(1 + t) / (10 + t)`, so that the average soon
    forgets where the training began. An average reaches about 1 / (1 - decay) updates back: lower `decay` for
    runs that are not much longer than that.

    Floating-point buffers, such as the statistics of batch norm, are averaged like the weights, as timm and
    torchvision's recipes do; counters are copied. `best.pth` and the metrics are the average's; `last.pth`
    holds both. Priority -100: other hooks find the average up to date.

    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992. The warmup is that of
    TensorFlow's `ExponentialMovingAverage`.
    """

    priority: ClassVar[int] = -100

    def __init__(
        self,
        *,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999,
        warmup: bool = True,
        every: PositiveInt = 1,
    ) -> None:
        self.decay = decay
        self.warmup = warmup
        self.every = every
        self.updates = 0
        self.average: Classifier | None = None
        # The tensors of the average and of the model, in the same order. Training changes them in place, so they
        # are looked up once: to do so at every step costs a small model on a GPU some percent.
        self._averaged: _Columns = ([], [])
        self._copied: _Columns = ([], [])
        self._restored: dict[str, Tensor] | None = None  # weights that wait for the run to start

    def on_run_start(self, state: HookState) -> None:
        """Start from the model's weights, or from those of the run that is resumed."""
        average = state.copy_model(self._restored)
        self._restored = None
        self.average = state.eval_model = average
        pairs = list(zip(_tensors(average), _tensors(state.model), strict=True))
        self._averaged = _columns([pair for pair in pairs if pair[0].is_floating_point()])
        self._copied = _columns([pair for pair in pairs if not pair[0].is_floating_point()])

    @torch.no_grad()
    def on_step_end(self, state: HookState) -> None:
        """Move the average towards the weights.

        Not torch's `AveragedModel`: that one asks a tensor on the device how many updates there were, and so
        waits for a GPU at every step.
        """
        if state.step % self.every:
            return
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        torch._foreach_lerp_(*self._averaged, 1 - decay)
        if self._copied[0]:  # a model without batch norm has no counters
            torch._foreach_copy_(*self._copied)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume."""
        weights = self._restored if self.average is None else self.average.state_dict()
        return {"updates": self.updates, "weights": weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, once the run starts."""
        self.updates, self._restored = state["updates"], state["weights"]


def _tensors(model: Classifier) -> list[Tensor]:
    """Return all tensors of a model; of those that are divided between processes, what this one has."""
    return [own_part(tensor) for tensor in model.state_dict().values()]


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> _Columns:
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
