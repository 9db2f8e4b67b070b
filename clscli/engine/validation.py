"""When a run validates."""

from __future__ import annotations

from clscli.engine.progress import Progress
from clscli.spec.schema import TrainTable


def is_due_in_epoch(options: TrainTable, progress: Progress) -> bool:
    """Tell whether to validate now, in the middle of an epoch."""
    return (
        options.val_every_steps is not None
        and progress.batch > 0
        and progress.step > progress.validated_step  # else it was done before the run was resumed
        and progress.step % options.val_every_steps == 0
        and progress.epoch + 1 >= options.val_from_epoch
    )


def is_due_after_epoch(options: TrainTable, progress: Progress) -> bool:
    """Tell whether to validate now, at the end of an epoch; the last one always is."""
    epoch = progress.epoch + 1
    if epoch == options.epochs:
        return True
    if epoch < options.val_from_epoch:
        return False
    if options.val_every_steps is not None:
        return progress.step % options.val_every_steps == 0
    return epoch % options.val_every == 0
