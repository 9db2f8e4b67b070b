"""The training loop: a generator of results. Printing, saving and stopping stay outside the arithmetic."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clscli.data.loader import Batch
from clscli.engine.accumulation import groups
from clscli.engine.evaluate import evaluate_model, named_unreadable
from clscli.engine.multi_label_metrics import AnyEvaluation
from clscli.engine.progress import EpochSums
from clscli.engine.schedules import Observing
from clscli.engine.session import Session
from clscli.engine.step import train_step
from clscli.engine.upload import uploaded
from clscli.engine.validation import is_due_after_epoch, is_due_in_epoch
from clscli.errors import Interrupted, TrainingError
from clscli.observer import Observer

# Reading a number from a GPU waits for it, so whether the loss is finite is only looked at this often.
_CHECK_EVERY = 50


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to, or its part up to a validation in its middle."""

    epoch: int  # from 1
    is_whole: bool
    step: int
    lr: float
    train_loss: float
    train_top1: float | None  # None where a picture may have several labels
    evaluation: AnyEvaluation | None  # None for an epoch without a validation
    seconds: float
    images_per_second: float  # of the training part
    data_wait: float  # the share of the training part that this process spent waiting for batches
    grad_norm: float | None  # mean over the steps, before clipping; None when the run does not clip by it
    unreadable: list[tuple[str, str]]  # (path, reason) of pictures left out, in training or validation

    def row(self) -> dict[str, Any]:
        """Return the line for `metrics.jsonl`."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "lr": self.lr,
            "train_loss": self.train_loss,
            **({} if self.train_top1 is None else {"train_top1": self.train_top1}),
            **({} if self.grad_norm is None else {"grad_norm": self.grad_norm}),
            **(self.evaluation.summary() if self.evaluation is not None else {}),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
            "data_wait": round(self.data_wait, 4),
            "unreadable": len(self.unreadable),
        }


class _Watch:
    """The time that the current epoch takes, and what of it goes into validations."""

    def __init__(self, first_sample: int) -> None:
        self.started = time.perf_counter()
        self.validating = 0.0
        self.waiting_first = 0.0  # for the first batch, which workers have only then begun to read
        self.waiting = 0.0  # for the others
        self.first_sample = first_sample  # the samples before it were trained on before the run was resumed

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def data_wait(self) -> float:
        """The share of the time since the first batch, less validations, that went by waiting for the next one."""
        since_first = self.seconds - self.validating - self.waiting_first
        return self.waiting / since_first if self.waiting else 0.0

    def waits(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass batches on, and take the time that each is waited for.

        Nothing is synchronised: what a GPU still computes meanwhile is not lost, but in the long run a loader
        that is fast enough lets nobody wait, as its batches are there before they are asked for.
        """
        is_first = True
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            waited = time.perf_counter() - started
            if batch is None:
                return
            if is_first:
                self.waiting_first, is_first = waited, False
            else:
                self.waiting += waited
            yield batch

    def images_per_second(self, samples: int) -> float:
        return (samples - self.first_sample) / (self.seconds - self.validating)


def run_epochs(session: Session, observer: Observer) -> Iterator[EpochResult]:
    """Train epoch after epoch from where `session.progress` stands; yield the result of each.

    Validations in the middle of an epoch yield theirs as well. When a result is yielded, the progress counts
    what it stands for as finished: it can be saved as it is.
    """
    s = session
    while s.progress.epoch < s.epochs and s.state.stop_reason is None:
        s.state.epoch = s.progress.epoch
        s.hooks.fire("on_epoch_start", s.state)
        s.agree()
        watch = _Watch(s.progress.samples)
        yield from train_epoch(s, observer, watch)

        _tell_hooks(s, watch)
        is_due = is_due_after_epoch(s.options, s.progress) or s.state.stop_reason is not None
        result = _result(s, watch, validate(s, observer, watch) if is_due else None, is_whole=True)
        s.hooks.fire("on_epoch_end", s.state)
        s.agree()
        if s.state.stop_reason is not None and result.evaluation is None:  # the last epoch after all
            result = dataclasses.replace(result, evaluation=validate(s, observer, watch))
        s.progress = s.progress.next_epoch()
        yield result


def train_epoch(session: Session, observer: Observer, watch: _Watch | None = None) -> Iterator[EpochResult]:
    """Train on the batches of the current epoch that are still to come, and add them to the progress.

    Yield the results of validations in its middle.
    """
    s, progress = session, session.progress
    watch = watch or _Watch(progress.samples)
    s.sums = EpochSums(progress, s.device, s.world)
    s.start_training()
    title = f"epoch {progress.epoch + 1}/{s.epochs}"
    observer.begin(title, s.train.order.num_drawn)
    observer.tick(progress.samples)
    try:
        batches = watch.waits(uploaded(s.train.epoch(progress.epoch, start=progress.batch), s.device))
        for group in groups(batches, s.options.accumulation_steps):
            if is_due_in_epoch(s.options, progress):
                s.settle()
                _tell_hooks(s, watch)
                yield _result(s, watch, validate(s, observer, watch), is_whole=False)
                s.start_training()
                observer.begin(title, s.train.order.num_drawn)
                observer.tick(progress.samples)
            for batch in group:
                progress.unreadable += named_unreadable(s.train, batch.unreadable, s.on_bad_image)
            progress.batch += len(group)
            before = progress.samples
            if train_step(s, group):
                s.state.validated = False
                if progress.step % _CHECK_EVERY == 0:
                    s.sums.check_finite(progress)
                s.hooks.fire("on_step_end", s.state)
                s.agree()
                if s.state.wanted:
                    s.settle()
                    s.save_wanted()
            observer.tick(progress.samples - before)
    except Interrupted:
        s.settle()  # what is saved now must be right, and must not hold weights gone bad
        raise
    s.settle()


def validate(session: Session, observer: Observer, watch: _Watch) -> AnyEvaluation:
    """Evaluate the model, or the one that a hook has put in its place, and let the schedule see the result."""
    s, started = session, time.perf_counter()
    observer.begin("validating", len(s.val.view))
    model = s.state.eval_model or s.model
    s.world.share_buffers(model)
    evaluation = evaluate_model(
        *(model, s.val, s.loss, s.device),
        on_bad_image=s.on_bad_image,
        observer=observer,
        world=s.world,
        stand_in=s.sharding.stand_in() if s.sharding is not None else None,
    )
    if not math.isfinite(evaluation.loss):  # the last step may have spoilt the weights: its own loss was before it
        raise TrainingError(f"the validation loss is not finite in epoch {s.progress.epoch + 1}")
    s.state.metrics, s.state.validated = evaluation.summary(), True
    s.progress.validated_step = s.progress.step
    if isinstance(s.schedule, Observing):
        s.schedule.observe(s.state.metrics)
    s.hooks.fire("on_validation_end", s.state)
    watch.validating += time.perf_counter() - started
    return evaluation


def _tell_hooks(session: Session, watch: _Watch) -> None:
    """Let hooks see what the epoch has come to so far."""
    state, progress = session.state, session.progress
    state.train_loss = progress.loss_sum / max(1, progress.samples)
    state.images_per_second = watch.images_per_second(progress.samples)


def _result(session: Session, watch: _Watch, evaluation: AnyEvaluation | None, *, is_whole: bool) -> EpochResult:
    progress = session.progress
    return EpochResult(
        epoch=progress.epoch + 1,
        is_whole=is_whole,
        step=progress.step,
        lr=session.optimizer.param_groups[0]["lr"],
        train_loss=progress.loss_sum / max(1, progress.samples),
        train_top1=None if session.train.view.multi_label else progress.correct / max(1, progress.samples),
        evaluation=evaluation,
        seconds=watch.seconds,
        images_per_second=watch.images_per_second(progress.samples),
        data_wait=watch.data_wait,
        grad_norm=progress.grad_norm_sum / progress.num_grad_norms if progress.num_grad_norms else None,
        unreadable=progress.unreadable + (evaluation.unreadable if evaluation is not None else []),
    )
