"""How far a run has come."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from clscli.engine.distributed import ALONE, World
from clscli.errors import TrainingError


@dataclass
class Progress:
    """How far a run has come; with the weights and the optimizer's state, all that resuming needs."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches of the current epoch that were trained on
    step: int = 0  # optimizer steps since the start of the run
    validated_step: int = 0  # the step at which the last validation took place
    loss_sum: float = 0.0  # over the samples of the current epoch
    correct: int = 0
    samples: int = 0
    grad_norm_sum: float = 0.0  # over the steps of the current epoch whose gradient was finite
    num_grad_norms: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def next_epoch(self) -> Progress:
        """Return the progress at the beginning of the epoch after this one."""
        return Progress(self.epoch + 1, step=self.step, validated_step=self.validated_step)


class EpochSums:
    """Sums of the current epoch on the device, added to without waiting for it.

    Each of several processes has its own, of its slices; they are added up when the host wants to know them.
    """

    def __init__(self, progress: Progress, device: torch.device, world: World = ALONE) -> None:
        self.world = world
        dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        # The sum and their number. Not added up over the processes: in each it is that of the whole batch.
        grad_norms = [progress.grad_norm_sum, progress.num_grad_norms]
        self.grad_norms = torch.tensor(grad_norms, dtype=dtype, device=device)
        if not world.is_main:  # what the epoch came to before counts once
            progress = Progress()
        self.loss = torch.tensor(progress.loss_sum, dtype=dtype, device=device)
        self.correct = torch.tensor(progress.correct, device=device)
        self.bad_step = torch.tensor(-1, device=device)  # the first whose loss was not finite

    def add(self, step: int, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: logits `(B, K)`, targets `(B,)` or `(B, K)`, and the sum of the loss over it.

        Of a target that is a mixture, the class with the largest share is the right one.
        """
        is_first_bad = ~torch.isfinite(loss) & (self.bad_step < 0)
        self.bad_step = torch.where(is_first_bad, step, self.bad_step)
        self.loss += loss.to(self.loss.dtype)
        labels = targets.argmax(1) if targets.ndim == 2 else targets
        self.correct += (logits.detach().argmax(1) == labels).sum()

    def add_grad_norm(self, norm: Tensor) -> None:
        """Add the norm of a step's gradient; one that float16 had no room for is of a step that was not taken."""
        is_finite = torch.isfinite(norm)
        self.grad_norms += torch.stack([torch.where(is_finite, norm, 0), is_finite])

    def check_finite(self, progress: Progress) -> None:
        """Raise TrainingError when the loss was not finite at some step."""
        step = self.world.max(int(self.bad_step))
        if step >= 0:
            raise TrainingError(f"the loss is not finite in epoch {progress.epoch + 1}, step {step + 1}")

    def store(self, progress: Progress) -> None:
        """Copy the sums, of all processes, to the host."""
        progress.loss_sum = self.world.total(self.loss).item()
        progress.correct = int(self.world.total(self.correct))
        progress.grad_norm_sum, count = self.grad_norms.tolist()
        progress.num_grad_norms = int(count)
