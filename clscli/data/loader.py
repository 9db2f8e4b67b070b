"""From samples to batches: workers decode and transform, the trainer gets `uint8` tensors.

The order of an epoch is a function of (seed, epoch), the augmentation of a sample one of (seed, epoch, index).
So neither the number of workers nor a stop in the middle of an epoch changes what the model sees.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from clscli.data.decode import UnreadableImageError, decode
from clscli.data.split import View
from clscli.errors import DataError, describe
from clscli.seeds import seed_for, seeded

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Draw:
    """Which sample to read, and for which epoch: what the sampler hands to the workers."""

    epoch: int
    index: int


class Batch(NamedTuple):
    """Some samples, stacked: `images` is `uint8 (B, C, H, W)`, `targets` `int64 (B,)`."""

    images: Tensor
    targets: Tensor
    indices: Tensor
    unreadable: list[tuple[int, str]]  # (index, reason) of samples that could not be read


@dataclass(frozen=True)
class _Item:
    index: int
    image: Tensor | None
    target: int
    reason: str


def apply(transforms: Sequence[Transform], image: Tensor) -> Tensor:
    """Run a pipeline of transforms on one `uint8` image `(C, H, W)`.

    Raises UnreadableImageError when a transform fails: some do on small pictures only, or on odd ones.
    """
    for transform in transforms:
        try:
            image = transform(image)
        except Exception as error:
            name = type(transform).__name__
            raise UnreadableImageError(f"{name} failed on it: {describe(error)}") from error
    return image


@dataclass(frozen=True)
class Reader:
    """Read single samples of a view: decode, then transform with randomness of the sample's own."""

    view: View
    transforms: Sequence[Transform]
    seed: int

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, draw: Draw) -> _Item:
        sample = self.view[draw.index]
        try:
            image = decode(sample.source)
            with seeded(self.seed, "augment", draw.epoch, draw.index):
                image = apply(self.transforms, image)
        except UnreadableImageError as error:
            # Returned, not raised: the trainer decides, and a worker's exception arrives with a traceback.
            return _Item(draw.index, None, sample.target, str(error))
        return _Item(draw.index, image, sample.target, "")


def num_batches(num_samples: int, batch_size: int) -> int:
    """Count the batches of an epoch."""
    return max(1, -(-num_samples // batch_size))


@dataclass
class BatchOrder:
    """The batches of an epoch as lists of draws; set `epoch` and `start` before each pass.

    In training, batches are shuffled and of nearly equal size, none larger than `batch_size`: no sample is
    dropped, and no last batch of one or two is left for batch norm to stumble over. With several processes,
    `batch_size` is of the batches of all of them together; each takes its slice of every batch, and some slices
    may be empty.
    """

    num_samples: int
    batch_size: int
    seed: int
    shuffle: bool
    epoch: int = 0
    start: int = 0  # batches to leave out, as a resumed epoch has seen them
    rank: int = 0
    processes: int = 1

    def __len__(self) -> int:
        return num_batches(self.num_samples, self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(seed_for(self.seed, "order", self.epoch))
            order = torch.randperm(self.num_samples, generator=generator)
            batches = order.tensor_split(len(self))
        else:
            batches = torch.split(torch.arange(self.num_samples), self.batch_size)
        for batch in batches[self.start :]:
            own = batch.tensor_split(self.processes)[self.rank]
            yield [Draw(self.epoch, index) for index in own.tolist()]


def collate(items: list[_Item]) -> Batch:
    """Stack samples into one batch, in shared memory when called in a worker."""
    good = [item for item in items if item.image is not None]
    bad = [(item.index, item.reason) for item in items if item.image is None]
    shapes = sorted({tuple(item.image.shape) for item in good if item.image is not None})
    if len(shapes) > 1:
        # An empty batch with the reason travels better than an exception; the trainer raises it.
        return Batch(torch.empty(0), torch.empty(0), torch.empty(0), [(-1, f"{shapes[0]} and {shapes[1]}")])
    images = default_collate([item.image for item in good]) if good else torch.empty(0, dtype=torch.uint8)
    targets = torch.tensor([item.target for item in good], dtype=torch.int64)
    return Batch(images, targets, torch.tensor([item.index for item in good], dtype=torch.int64), bad)


class BatchLoader:
    """Give the batches of an epoch from a view, read ahead by worker processes that live as long as this."""

    def __init__(
        self,
        view: View,
        transforms: Sequence[Transform],
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        num_workers: int | Literal["auto"],
        pin_memory: bool = False,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.view = view
        self.order = BatchOrder(len(view), batch_size, seed, shuffle, rank=rank, processes=processes)
        workers = auto_workers() if num_workers == "auto" else num_workers
        workers = min(workers, len(self.order))
        self._loader: DataLoader[Any] = DataLoader(
            Reader(view, transforms, seed),  # type: ignore[arg-type]  # indexed by Draw, not by int
            batch_sampler=self.order,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=_start_worker,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # else every epoch draws a seed, that nobody needs, from the global one
        )

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from batch `start` on.

        Raises DataError when the transforms leave images of different sizes.
        """
        self.order.epoch, self.order.start = epoch, start
        for batch in self._loader:
            if batch.unreadable and batch.unreadable[0][0] < 0:
                raise DataError(
                    f"images of one batch differ in size: {batch.unreadable[0][1]} "
                    "-- let the transforms end with a fixed size, such as resize and center_crop"
                )
            yield batch

    def close(self) -> None:
        """Stop the worker processes now instead of when Python gets to it."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()


def auto_workers(processes: int = 1) -> int:
    """Choose a number of workers: the cores this process may use, with others like it, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, cores // processes), 8)


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal: the trainer alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
