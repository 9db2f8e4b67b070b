"""Groups of batches: what one optimizer step is computed from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from clscli.data.loader import Batch
from clscli.spec.schema import TrainTable


def groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Gather `size` batches at a time; what is left at the end of an epoch is a smaller group."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def steps_per_epoch(num_batches: int, options: TrainTable) -> int:
    """Count the optimizer steps of an epoch."""
    return -(-num_batches // options.accumulation_steps)


def lr_factor(batch_size: int, options: TrainTable) -> float:
    """Return what the learning rate is multiplied by, for the pictures of a step against those it is meant for.

    Linear: Goyal et al., "Accurate, large minibatch SGD", 2017. The square root, for optimizers such as Adam
    that divide by the size of the gradient: Malladi et al., "On the SDEs and scaling rules for adaptive
    gradient algorithms", 2022.
    """
    ratio = batch_size * options.accumulation_steps / options.base_batch_size
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[options.scale_lr]
