"""Steps on black pictures: what a model costs, measured before a run, or after it has run out of memory."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from clscli.data.pipeline import output_shape
from clscli.engine.device import Execution
from clscli.engine.prepare import Plan
from clscli.models.classifier import Classifier
from clscli.models.layers.outputs import Outputs

_TIMED_STEPS = 5
_ENOUGH_SECONDS = 1.5  # a slow model need not be timed five times

Forward = Callable[[Tensor], Outputs]


def take_turns(trials: Sequence[Trial], batch_size: int) -> list[float]:
    """Return the seconds per image of each trial: they take turns, so that a busy moment slows all of them."""
    steps = [partial(trial.step, batch_size) for trial in trials]
    return [seconds / batch_size for seconds in _fastest_of(steps)]


def _fastest_of(steps: Sequence[Callable[[], float]]) -> list[float]:
    """Run each of the steps a few times, in turns; return the least number of seconds that each took."""
    for step in steps:
        step()  # pays for memory and kernels, and does not count
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(_TIMED_STEPS):
        for step, own in zip(steps, times, strict=True):
            if sum(own) <= _ENOUGH_SECONDS:
                own.append(step())
    return [min(own) for own in times]


@dataclass(frozen=True)
class Trial:
    """A model, and all that computing steps with it takes; batch norm's statistics change with every step."""

    model: Classifier
    execution: Execution
    device: torch.device
    image_shape: tuple[int, int, int]

    @classmethod
    def of(cls, plan: Plan, execution: Execution, device: torch.device) -> Trial:
        """Take a copy of a plan's model, and pictures of the size that its training transforms give."""
        model: Classifier = copy.deepcopy(plan.model).to(memory_format=execution.memory_format).to(device)
        return cls(model.train(), execution, device, output_shape(plan.train_transforms, plan.data.train))

    def step(self, batch_size: int, forward: Forward | None = None) -> float:
        """Run a batch forward and backward; return the seconds that it took."""
        images = torch.zeros(batch_size, *self.image_shape, dtype=torch.uint8, device=self.device)
        images = images.to(memory_format=self.execution.memory_format)
        self._wait()
        started = time.perf_counter()
        with self.execution.autocast(self.device):
            outputs = (self.model if forward is None else forward)(images)
        logits = outputs if isinstance(outputs, Tensor) else torch.stack(list(outputs))
        torch.autograd.backward(logits.float().square().mean())
        self._wait()
        seconds = time.perf_counter() - started
        self.model.zero_grad(set_to_none=True)
        return seconds

    def seconds_per_image(self, batch_size: int, forward: Forward | None = None) -> float:
        """Time the fastest of a few steps."""
        return _fastest_of([lambda: self.step(batch_size, forward)])[0] / batch_size

    def bytes_per_image(self) -> float:
        """Measure what the forward pass keeps of each image for the backward pass."""
        own = {p.untyped_storage().data_ptr() for p in (*self.model.parameters(), *self.model.buffers())}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        batch_size = 2  # batch norm over maps of one pixel refuses a single picture
        with saved_tensors_hooks(note, lambda tensor: tensor):
            self.step(batch_size)
        return sum(kept.values()) / batch_size

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
