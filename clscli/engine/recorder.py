"""What a run leaves behind as it goes: metrics, checkpoints, a log, curves."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from clscli.engine.accumulation import lr_factor
from clscli.engine.checkpoint import checkpoint_data, save_checkpoint
from clscli.engine.device import device_name
from clscli.engine.idle_settings import idle_settings
from clscli.engine.loop import EpochResult
from clscli.engine.monitor import goodness, main_metric
from clscli.engine.prepare import Plan
from clscli.engine.run_directory import RunDirectory
from clscli.engine.session import Session
from clscli.models.classifier import Classifier
from clscli.reports.text import list_some

log = logging.getLogger("clscli")

# From where on waiting for pictures is worth a hint, in epochs long enough to save something.
_MUCH_WAITING, _LONG_EPOCH = 0.3, 10.0  # share, seconds


@dataclass
class Recorder:
    """Write into a run directory what a session comes to; of several processes, the first one does."""

    plan: Plan
    session: Session
    run: RunDirectory
    best: dict[str, Any] | None = None  # the row of the best epoch so far
    rows: list[dict[str, Any]] = field(default_factory=list)  # of all epochs, as in metrics.jsonl
    has_hinted: bool = False

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
        if self.session.world.size > 1:
            size, batch = self.session.world.size, self.session.train.order.batch_size
            log.info("%d processes: %d pictures a batch, %g for each of them", size, batch, batch / size)
        if self.session.sharding is not None:
            log.info("each process keeps 1/%d of the weights (FSDP)", self.session.world.size)
        log.info(
            "%d training and %d validation pictures of %d classes, run directory %s",
            *(len(data.train), len(data.val), len(data.classes), self.run.path),
        )
        self._announce_options()

    def _announce_options(self) -> None:
        """Log what the spec's options come to that is not to be seen in it."""
        options, images = self.session.options, self.session.train.order.batch_size
        if self.plan.spec.spec.data.cache == "device":
            log.info("the pictures are small: they are kept on %s and augmented in batches", self.session.device)
        if options.scale_lr != "none":
            log.info(
                "learning rate x %.4g: %d pictures a step, base_batch_size %d, scale_lr = %s",
                *(lr_factor(images, options), images * options.accumulation_steps),
                *(options.base_batch_size, options.scale_lr),
            )
        if options.strategy == "fsdp" and self.session.world.size == 1:
            log.info('note: train.strategy = "fsdp" divides a model between processes, and this is one')
        if 0 < options.freeze_epochs < options.epochs:
            log.info("the backbone is frozen until epoch %d is over", options.freeze_epochs)
        for note in idle_settings(self.plan.spec, len(self.session.train)):
            log.info("note: %s", note)

    def record(self, result: EpochResult) -> None:
        """Keep an epoch: its line of metrics, the checkpoints, a line in the log."""
        row = result.row()
        self.rows.append(row)
        is_best = result.evaluation is not None and (self.best is None or self._is_better(row, self.best))
        # In this order a kill at any point leaves a run that resumes to the same numbers.
        if self.session.world.is_main:
            self.run.append_metrics(row)
        if is_best:
            self.best = row
            if self.session.has_part_in_saving:
                self._write(self._checkpoint(self.session.state.eval_model), self.run.best)
        self.save_last()
        _log_epoch(result, self.session.epochs, is_best)
        self._hint_at_waiting(result)

    def _hint_at_waiting(self, result: EpochResult) -> None:
        """Say once what may be done about much waiting for pictures."""
        if self.has_hinted or result.data_wait < _MUCH_WAITING or result.seconds < _LONG_EPOCH:
            return
        self.has_hinted = True
        log.info(
            "hint: %.0f %% of the time went by waiting for pictures to be read -- try another data.num_workers "
            '(now %s), data.cache = "memory", or transforms that cost less',
            *(100 * result.data_wait, self.plan.spec.spec.data.num_workers),
        )

    def save(self, path: Path) -> None:
        """Save all that going on from here needs, in a file of its own and as `last.pth`."""
        if not self.session.has_part_in_saving:
            return
        data = self._checkpoint()
        data["training"] = {**self.session.state_dict(), "pictures": self.pictures, "best": self.best}
        self._write(data, path, self.run.last)

    def _write(self, data: dict[str, Any], *paths: Path) -> None:
        if self.session.world.is_main:
            for path in set(paths):
                save_checkpoint(data, path)

    def save_last(self) -> None:
        """Save all that going on from here needs."""
        self.save(self.run.last)

    def draw(self) -> None:
        """Draw the curves of the epochs so far."""
        if self.rows and self.session.world.is_main:
            from clscli.reports.plots import draw_curves  # matplotlib: only now, when the training is over

            draw_curves(self.rows, self.run.curves, monitor=self.session.options.monitor)

    def _is_better(self, row: dict[str, Any], best: dict[str, Any]) -> bool:
        monitor = self.session.options.monitor
        return goodness(row, monitor) > goodness(best, monitor)

    def _checkpoint(self, model: Classifier | None = None) -> dict[str, Any]:
        return checkpoint_data(
            self.plan.spec,
            self.plan.data.classes,
            self.plan.data.train.class_counts,
            self.plan.blueprint.image_shape,
            self.session.weights(model),
            self.rows[-1] if self.rows else {},
            num_samples=len(self.plan.data.train) if self.plan.data.train.multi_label else None,
        )


def _log_epoch(result: EpochResult, epochs: int, is_best: bool) -> None:
    epoch = f"epoch {result.epoch:{len(str(epochs))}}/{epochs}"
    parts = [epoch if result.is_whole else f"{epoch}, step {result.step}", f"loss {result.train_loss:.4f}"]
    if result.evaluation is not None:
        found = result.evaluation.summary()
        name = main_metric(found)
        parts += [f"val_loss {found['loss']:.4f}", f"{name} {100 * found[name]:5.2f} %"]
    parts += [f"lr {result.lr:.2g}", f"{result.seconds:.1f} s"]
    if result.images_per_second:  # a run resumed just before a validation has trained on nothing yet
        parts.append(f"{result.images_per_second:.0f} images/s")
        parts.append(f"{100 * result.data_wait:.0f} % waiting for data")
    parts += ["best"] * is_best
    log.info("%s", "  ".join(parts))
    if result.unreadable and result.is_whole:
        named = list_some([f"{path} ({reason})" for path, reason in result.unreadable])
        log.info("skipped: %d pictures cannot be read: %s", len(result.unreadable), named)
