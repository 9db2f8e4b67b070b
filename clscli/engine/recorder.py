"""What a run leaves behind as it goes: metrics, checkpoints, a log, curves."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from clscli.engine.checkpoint import checkpoint_data, save_checkpoint
from clscli.engine.device import device_name
from clscli.engine.loop import EpochResult
from clscli.engine.prepare import Plan
from clscli.engine.run_directory import RunDirectory
from clscli.engine.session import Session
from clscli.reports.text import list_some

log = logging.getLogger("clscli")


@dataclass
class Recorder:
    """Write into a run directory what a session comes to."""

    plan: Plan
    session: Session
    run: RunDirectory
    best: dict[str, Any] | None = None  # the row of the best epoch so far
    rows: list[dict[str, Any]] = field(default_factory=list)  # of all epochs, as in metrics.jsonl

    @cached_property
    def pictures(self) -> str:
        """A fingerprint of the pictures, by name and class, to notice on resuming that they have changed."""
        return self.plan.data.train.fingerprint() + self.plan.data.val.fingerprint()

    def announce(self) -> None:
        """Log what is about to be trained, on what, and where it will be."""
        plan, data = self.plan, self.plan.data
        backbone = plan.spec.one("model", "backbone").component.spec_name
        where = device_name(self.session.device)
        log.info("%s: %s parameters, %s, %s", backbone, f"{plan.num_parameters:,}", where, self.session.execution)
        log.info(
            "%d training and %d validation pictures of %d classes, run directory %s",
            *(len(data.train), len(data.val), len(data.classes), self.run.path),
        )

    def record(self, result: EpochResult) -> None:
        """Keep an epoch: its line of metrics, the checkpoints, a line in the log."""
        row = result.row()
        self.rows.append(row)
        is_best = self.best is None or _is_better(row, self.best)
        # In this order a kill at any point leaves a run that resumes to the same numbers.
        self.run.append_metrics(row)
        if is_best:
            self.best = row
            save_checkpoint(self._checkpoint(), self.run.best)
        self.save_last()
        _log_epoch(result, self.session.epochs, is_best)

    def save_last(self) -> None:
        """Save all that going on from here needs."""
        data = self._checkpoint()
        data["training"] = {**self.session.state_dict(), "pictures": self.pictures, "best": self.best}
        save_checkpoint(data, self.run.last)

    def draw(self) -> None:
        """Draw the curves of the epochs so far."""
        if self.rows:
            from clscli.reports.plots import draw_curves  # matplotlib: only now, when the training is over

            draw_curves(self.rows, self.run.curves)

    def _checkpoint(self) -> dict[str, Any]:
        return checkpoint_data(
            self.plan.spec,
            self.plan.data.classes,
            self.plan.data.train.class_counts,
            self.plan.blueprint.image_shape,
            self.session.model.state_dict(),
            self.rows[-1] if self.rows else {},
        )


def _is_better(row: dict[str, Any], best: dict[str, Any]) -> bool:
    """Compare two epochs: by top-1, and by the loss where that is equal."""
    return (row["top1"], -row["loss"]) > (best["top1"], -best["loss"])


def _log_epoch(result: EpochResult, epochs: int, is_best: bool) -> None:
    log.info(
        "epoch %*d/%d  loss %.4f  val_loss %.4f  top1 %5.2f %%  lr %.2g  %.1f s  %.0f images/s%s",
        *(len(str(epochs)), result.epoch, epochs),
        *(result.train_loss, result.evaluation.loss, 100 * result.evaluation.top1),
        *(result.lr, result.seconds, result.images_per_second),
        "  best" if is_best else "",
    )
    if result.unreadable:
        named = list_some([f"{path} ({reason})" for path, reason in result.unreadable])
        log.info("skipped: %d pictures cannot be read: %s", len(result.unreadable), named)
