"""From samples to batches: workers decode and transform, the trainer gets `uint8` tensors.

The order of an epoch is a function of (seed, epoch), the augmentation of a sample one of (seed, epoch, index).
So neither the number of workers nor a stop in the middle of an epoch changes what the model sees.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from clscli.data.handover import Handover, Place
from clscli.data.order import BatchOrder
from clscli.data.pixel_cache import PixelCache
from clscli.data.reader import Item, Reader
from clscli.data.samplers import Sampler
from clscli.data.split import View
from clscli.data.transforms.contract import Transform
from clscli.errors import DataError
from clscli.machine import available_cores

_AHEAD = 2  # batches that each worker reads ahead


class Batch(NamedTuple):
    """Some samples, stacked: `images` is `uint8 (B, C, H, W)`, channels last in memory.

    `targets` is `int64 (B,)`, or `float32 (B, K)`, 0 or 1, of pictures with several labels.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    unreadable: list[tuple[int, str]]  # (index, reason) of samples that could not be read


class _Sent(NamedTuple):
    """A Batch on its way from a worker: its images are in a place that both know, the rest is small."""

    images: Place
    targets: npt.NDArray[Any]
    indices: npt.NDArray[Any]
    unreadable: list[tuple[int, str]]


def collate(items: list[Item], handover: Handover | None = None) -> Batch | _Sent:
    """Stack samples into one batch; where they fit, in the places of a worker's handover."""
    good = [item for item in items if item.image is not None]
    bad = [(item.index, item.reason) for item in items if item.image is None]
    images = [item.image for item in good if item.image is not None]
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        # An empty batch with the reason travels better than an exception; the trainer raises it.
        return Batch(torch.empty(0), torch.empty(0), torch.empty(0), [(-1, f"{shapes[0]} and {shapes[1]}")])
    targets = torch.stack([item.target for item in good]) if good else torch.empty(0, dtype=torch.int64)
    indices = torch.tensor([item.index for item in good], dtype=torch.int64)
    place = handover.put(images) if handover is not None else None
    if place is None:
        return Batch(stack(images), targets, indices, bad)
    return _Sent(place, targets.numpy(), indices.numpy(), bad)


def stack(images: Sequence[Tensor]) -> Tensor:
    """Stack images into `uint8 (B, C, H, W)`, channels last in memory.

    So the decoder leaves them, and so most models are computed a fourth faster on a CPU.
    """
    if not images:
        return torch.empty(0, dtype=torch.uint8)
    batch: Tensor = default_collate([image.permute(1, 2, 0) for image in images])
    return batch.permute(0, 3, 1, 2)


class Loader(Protocol):
    """What gives the batches of a view: a BatchLoader, or one that keeps the pictures."""

    view: View
    order: BatchOrder

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from batch `start` on."""
        ...

    def close(self) -> None:
        """Let go of what reads."""
        ...


class BatchLoader:
    """Give the batches of an epoch from a view, read ahead by worker processes that live as long as this.

    `image_shape`, what the transforms make of most pictures, lets workers hand over batches in memory that stays.
    """

    def __init__(
        self,
        view: View,
        transforms: Sequence[Transform],
        *,
        batch_size: int,
        seed: int,
        sampler: Sampler | None = None,
        num_workers: int | Literal["auto"],
        image_shape: tuple[int, int, int] | None = None,
        scaled_decode: bool = True,
        cache: PixelCache | None = None,
        pin_memory: bool = False,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.view = view
        self.cache = cache
        self.order = BatchOrder(len(view), batch_size, seed, sampler, rank=rank, processes=processes)
        workers = auto_workers() if num_workers == "auto" else num_workers
        workers = min(workers, len(self.order))
        self._handover: Handover | None = None
        # What is pinned, DataLoader hands over: it pins in a thread.
        if workers and image_shape is not None and not pin_memory:
            self._handover = Handover.open(image_shape, -(-batch_size // processes), workers, _AHEAD)
        self._loader: DataLoader[Any] = DataLoader(
            Reader(view, transforms, seed, scaled_decode, cache),  # type: ignore[arg-type]  # indexed by Draw, not by int
            batch_sampler=self.order,
            collate_fn=partial(collate, handover=self._handover),
            num_workers=workers,
            prefetch_factor=_AHEAD if workers else None,
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
        for found in self._loader:
            batch = self._received(found)
            if batch.unreadable and batch.unreadable[0][0] < 0:
                raise DataError(
                    f"images of one batch differ in size: {batch.unreadable[0][1]} "
                    "-- let the transforms end with a fixed size, such as resize and center_crop"
                )
            yield batch

    def _received(self, found: Batch | _Sent) -> Batch:
        if isinstance(found, Batch):
            return found
        assert self._handover is not None
        images = self._handover.take(found.images)
        return Batch(images, torch.from_numpy(found.targets), torch.from_numpy(found.indices), found.unreadable)

    def close(self) -> None:
        """Stop the worker processes and give back memory now instead of when Python gets to it."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        if self.cache is not None:
            self.cache.close()


def auto_workers(processes: int = 1) -> int:
    """Choose a number of workers: the cores this process may use, with others like it, at most 8."""
    return min(max(1, available_cores() // processes), 8)


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal: the trainer alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
