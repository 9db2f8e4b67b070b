"""The training loop: a generator of epoch results. Printing, saving and stopping stay outside the arithmetic."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clscli.data.loader import Batch
from clscli.engine.evaluate import evaluate_model, named_unreadable
from clscli.engine.metrics import Evaluation, batch_total
from clscli.engine.observer import Observer
from clscli.engine.session import Progress, Session
from clscli.errors import TrainingError
from clscli.models.classifier import Classifier
from clscli.models.layers.outputs import Outputs
from clscli.models.losses.contract import Loss, given_images
from clscli.seeds import seed_for

# Reading a number from a GPU waits for it, so whether the loss is finite is only looked at this often.
_CHECK_EVERY = 50


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to."""

    epoch: int  # from 1
    step: int
    lr: float
    train_loss: float
    train_top1: float
    evaluation: Evaluation
    seconds: float
    images_per_second: float  # of the training part
    unreadable: list[tuple[str, str]]  # (path, reason) of pictures left out, in training or validation

    def row(self) -> dict[str, Any]:
        """Return the line for `metrics.jsonl`."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "lr": self.lr,
            "train_loss": self.train_loss,
            "train_top1": self.train_top1,
            **self.evaluation.summary(),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
            "unreadable": len(self.unreadable),
        }


def run_epochs(session: Session, observer: Observer) -> Iterator[EpochResult]:
    """Train epoch after epoch from where `session.progress` stands; yield the result of each.

    When a result is yielded, the progress already counts its epoch as finished: it can be saved as it is.
    """
    s, progress = session, session.progress
    while progress.epoch < s.epochs and s.state.stop_reason is None:
        started = time.perf_counter()
        s.state.epoch = progress.epoch
        s.hooks.fire("on_epoch_start", s.state)

        first = progress.samples
        train_epoch(s, observer)
        trained = time.perf_counter()

        observer.begin("validating", len(s.val.view))
        evaluation = evaluate_model(
            s.model, s.val, s.loss, s.device, on_bad_image=s.on_bad_image, observer=observer
        )
        result = EpochResult(
            epoch=progress.epoch + 1,
            step=progress.step,
            lr=s.optimizer.param_groups[0]["lr"],
            train_loss=progress.loss_sum / max(1, progress.samples),
            train_top1=progress.correct / max(1, progress.samples),
            evaluation=evaluation,
            seconds=time.perf_counter() - started,
            images_per_second=(progress.samples - first) / (trained - started),
            unreadable=progress.unreadable + evaluation.unreadable,
        )
        s.state.metrics = evaluation.summary()
        s.hooks.fire("on_epoch_end", s.state)
        s.progress = progress = Progress(epoch=progress.epoch + 1, step=progress.step)
        yield result


def train_epoch(session: Session, observer: Observer) -> None:
    """Train on the batches of the current epoch that are still to come, and add them to the progress."""
    s, progress = session, session.progress
    s.model.train()
    sums = _Sums(progress, s.device)
    observer.begin(f"epoch {progress.epoch + 1}/{s.epochs}", len(s.train.view))
    observer.tick(progress.samples)
    try:
        for batch in s.train.epoch(progress.epoch, start=progress.batch):
            progress.unreadable += named_unreadable(s.train, batch.unreadable, s.on_bad_image)
            if len(batch.targets):
                train_step(s, batch, sums)
            progress.batch += 1
            if progress.step % _CHECK_EVERY == 0:
                sums.check_finite(progress)
            s.state.step = progress.step
            s.hooks.fire("on_step_end", s.state)
            observer.tick(len(batch.targets))
    finally:
        # Also when interrupted: what is saved then must be right, and must not hold weights gone bad.
        sums.store(progress)
        sums.check_finite(progress)


def train_step(session: Session, batch: Batch, sums: _Sums) -> None:
    """Take one optimizer step on one batch."""
    s, step = session, session.progress.step
    # Dropout and stochastic depth depend on the step alone, so that a resumed run draws the same.
    torch.manual_seed(seed_for(s.seed, "step", step))
    for group in s.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * s.schedule(step)

    images = batch.images.to(s.device, non_blocking=True, memory_format=s.execution.memory_format)
    targets = batch.targets.to(s.device, non_blocking=True)
    with s.execution.autocast(s.device):
        criterion = given_images(s.loss, images)
        outputs = s.model(images)
        loss = head_loss(s.model, outputs, targets, criterion)
    s.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(s.scaler.scale(loss))
    s.scaler.step(s.optimizer)
    s.scaler.update()

    s.progress.step += 1
    s.progress.samples += len(targets)
    total = batch_total(s.loss, loss.detach(), len(targets))
    sums.add(step, outputs if isinstance(outputs, Tensor) else outputs[0], targets, total)


def head_loss(model: Classifier, outputs: Outputs, targets: Tensor, criterion: Loss) -> Tensor:
    """Compute the loss: by the head's own `loss` if it has one, else the mean over all that it returns."""
    own = getattr(model.head, "loss", None)
    if callable(own):
        loss: Tensor = own(outputs, targets, criterion)
        return loss
    if isinstance(outputs, Tensor):
        return criterion(outputs.float(), targets)
    return torch.stack([criterion(logits.float(), targets) for logits in outputs]).mean()


class _Sums:
    """Sums of the current epoch on the device, added to without waiting for it."""

    def __init__(self, progress: Progress, device: torch.device) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        self.loss = torch.tensor(progress.loss_sum, dtype=dtype, device=device)
        self.correct = torch.tensor(progress.correct, device=device)
        self.bad_step = torch.tensor(-1, device=device)  # the first whose loss was not finite

    def add(self, step: int, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        is_first_bad = ~torch.isfinite(loss) & (self.bad_step < 0)
        self.bad_step = torch.where(is_first_bad, step, self.bad_step)
        self.loss += loss.to(self.loss.dtype)
        self.correct += (logits.detach().argmax(1) == targets).sum()

    def check_finite(self, progress: Progress) -> None:
        step = int(self.bad_step)
        if step >= 0:
            raise TrainingError(f"the loss is not finite in epoch {progress.epoch + 1}, step {step + 1}")

    def store(self, progress: Progress) -> None:
        progress.loss_sum, progress.correct = self.loss.item(), int(self.correct)
