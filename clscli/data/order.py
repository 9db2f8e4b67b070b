"""Which samples make up which batch: a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from clscli.data.samplers import Sampler
from clscli.seeds import seed_for


@dataclass(frozen=True)
class Draw:
    """Which sample to read, and for which epoch: what the order of batches hands to the workers."""

    epoch: int
    index: int
    repeat: int = 0  # how often the epoch has had the sample before: each time it is augmented differently


class Part(NamedTuple):
    """What one process has of a batch."""

    number: int  # of the batch in its epoch
    indices: Tensor  # int64 (B,)
    repeats: Tensor  # int64 (B,), see `Draw`
    first: int  # where in the batch it begins
    num_samples: int  # of the batch, of all processes together


def num_batches(num_samples: int, batch_size: int) -> int:
    """Count the batches of an epoch."""
    return max(1, -(-num_samples // batch_size))


@dataclass
class BatchOrder:
    """The batches of an epoch as lists of draws; set `epoch` and `start` before each pass.

    In training, a sampler gives the order, and batches are of nearly equal size, none larger than
    `batch_size`: no sample is dropped, and no last batch of one or two is left for batch norm to stumble over.
    With several processes, `batch_size` is of the batches of all of them together; each takes its slice of
    every batch, and some slices may be empty.
    """

    num_samples: int  # that there are
    batch_size: int
    seed: int
    sampler: Sampler | None = None  # without one: each sample once, in their own order
    epoch: int = 0
    start: int = 0  # batches to leave out, as a resumed epoch has seen them
    rank: int = 0
    processes: int = 1

    @property
    def num_drawn(self) -> int:
        """Samples of an epoch."""
        return self.num_samples if self.sampler is None else len(self.sampler)

    def __len__(self) -> int:
        return num_batches(self.num_drawn, self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        for part in self.parts():
            pairs = zip(part.indices.tolist(), part.repeats.tolist(), strict=True)
            yield [Draw(self.epoch, *pair) for pair in pairs]

    def parts(self) -> Iterator[Part]:
        """Yield what this process has of each batch, as tensors."""
        if self.sampler is None:
            order = torch.arange(self.num_samples)
        else:
            order = self.sampler(torch.Generator().manual_seed(seed_for(self.seed, "order", self.epoch)))
        before = count_before(order)
        for number in range(self.start, len(self)):
            batch = self._slice(number)
            slices = order[batch].tensor_split(self.processes)
            own, repeats = slices[self.rank], before[batch].tensor_split(self.processes)[self.rank]
            first = sum(map(len, slices[: self.rank]))
            yield Part(number, own, repeats, first, sum(map(len, slices)))

    def _slice(self, number: int) -> slice:
        """Return where in an epoch's order a batch lies."""
        if self.sampler is None:
            return slice(number * self.batch_size, (number + 1) * self.batch_size)
        size, larger = divmod(self.num_drawn, len(self))  # the first few are larger by one
        return slice(number * size + min(number, larger), (number + 1) * size + min(number + 1, larger))


def count_before(order: Tensor) -> Tensor:
    """Count for every place of an order how often its sample has come before."""
    if not len(order) or torch.bincount(order).max() == 1:  # as most samplers have it: no need to sort
        return torch.zeros_like(order)
    by_sample = order.argsort(stable=True)
    samples, places = order[by_sample], torch.arange(len(order))
    is_first = torch.ones_like(samples, dtype=torch.bool)
    is_first[1:] = samples[1:] != samples[:-1]
    before = torch.empty_like(order)
    before[by_sample] = places - torch.where(is_first, places, 0).cummax(0).values
    return before
