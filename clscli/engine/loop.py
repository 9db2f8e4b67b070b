"""The training loop: a generator of results. Printing, saving and stopping stay outside the arithmetic."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clscli.engine.accumulation import groups
from clscli.engine.evaluate import evaluate_model, named_unreadable
from clscli.engine.metrics import Evaluation
from clscli.engine.observer import Observer
from clscli.engine.progress import EpochSums
from clscli.engine.schedules import Observing
from clscli.engine.session import Session
from clscli.engine.step import train_step
from clscli.engine.validation import is_due_after_epoch, is_due_in_epoch
from clscli.errors import Interrupted, TrainingError

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
    train_top1: float
    evaluation: Evaluation | None  # None for an epoch without a validation
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
            **(self.evaluation.summary() if self.evaluation is not None else {}),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 1),
            "unreadable": len(self.unreadable),
        }


class _Watch:
    """The time that the current epoch takes, and what of it goes into validations."""

    def __init__(self, first_sample: int) -> None:
        self.started = time.perf_counter()
        self.validating = 0.0
        self.first_sample = first_sample  # the samples before it were trained on before the run was resumed

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

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

        s.state.train_loss = s.progress.loss_sum / max(1, s.progress.samples)
        s.state.images_per_second = watch.images_per_second(s.progress.samples)
        is_due = is_due_after_epoch(s.options, s.progress) or s.state.stop_reason is not None
        result = _result(s, watch, validate(s, observer, watch) if is_due else None, is_whole=True)
        s.hooks.fire("on_epoch_end", s.state)
        s.agree()
        if s.state.stop_reason is not None and result.evaluation is None:  # the last epoch after all
            result = dataclasses.replace(result, evaluation=validate(s, observer, watch))
        s.state.validated = False
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
    observer.begin(title, len(s.train.view))
    observer.tick(progress.samples)
    try:
        batches = s.train.epoch(progress.epoch, start=progress.batch)
        for group in groups(batches, s.options.accumulation_steps):
            if is_due_in_epoch(s.options, progress):
                s.settle()
                yield _result(s, watch, validate(s, observer, watch), is_whole=False)
                s.start_training()
                observer.begin(title, len(s.train.view))
                observer.tick(progress.samples)
            for batch in group:
                progress.unreadable += named_unreadable(s.train, batch.unreadable, s.on_bad_image)
            progress.batch += len(group)
            before = progress.samples
            if train_step(s, group):
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


def validate(session: Session, observer: Observer, watch: _Watch) -> Evaluation:
    """Evaluate the model, or the one that a hook has put in its place, and let the schedule see the result."""
    s, started = session, time.perf_counter()
    observer.begin("validating", len(s.val.view))
    model = s.state.eval_model or s.model
    s.world.share_buffers(model)
    evaluation = evaluate_model(
        model, s.val, s.loss, s.device, on_bad_image=s.on_bad_image, observer=observer, world=s.world
    )
    if not math.isfinite(evaluation.loss):  # the last step may have spoilt the weights: its own loss was before it
        raise TrainingError(f"the validation loss is not finite in epoch {s.progress.epoch + 1}")
    s.state.metrics, s.state.validated = evaluation.summary(), True
    s.progress.validated_step = s.progress.step
    if isinstance(s.schedule, Observing):
        s.schedule.observe(s.state.metrics)
    watch.validating += time.perf_counter() - started
    return evaluation


def _result(session: Session, watch: _Watch, evaluation: Evaluation | None, *, is_whole: bool) -> EpochResult:
    progress = session.progress
    return EpochResult(
        epoch=progress.epoch + 1,
        is_whole=is_whole,
        step=progress.step,
        lr=session.optimizer.param_groups[0]["lr"],
        train_loss=progress.loss_sum / max(1, progress.samples),
        train_top1=progress.correct / max(1, progress.samples),
        evaluation=evaluation,
        seconds=watch.seconds,
        images_per_second=watch.images_per_second(progress.samples),
        unreadable=progress.unreadable + (evaluation.unreadable if evaluation is not None else []),
    )
