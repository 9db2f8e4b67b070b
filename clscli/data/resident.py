"""Small pictures, held on the device as one tensor: decoded once, and augmented a batch at a time.

Of 32x32 pixels, reading a file takes longer than training on it; a whole set of them fits where it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clscli.data.decode import UnreadableImageError
from clscli.data.loader import Batch, auto_workers
from clscli.data.order import BatchOrder, Part
from clscli.data.pipeline import fixed_beginning, output_shape
from clscli.data.prefetch import prefetch
from clscli.data.read import read
from clscli.data.samplers import Sampler
from clscli.data.split import View
from clscli.data.transforms.batched import BatchDraws, BatchedTransform
from clscli.data.transforms.contract import Transform
from clscli.errors import PluginError, describe
from clscli.seeds import seed_for
from clscli.spec import ResolvedSpec

# Where a picture is no larger, all of a data set's fit on most devices: ImageNet at 64x64 takes 16 GB, though.
MAX_PIXELS = 64
MAX_BYTES = 2e9

_AHEAD = 64  # pictures that are read before they are put into their place


class Divided(NamedTuple):
    """A pipeline in two: what is done once, when a picture is read, and what is drawn anew for every batch."""

    once: list[Transform]
    batched: list[BatchedTransform]


def divide(transforms: Sequence[Transform]) -> Divided | Transform:
    """Divide a pipeline, or return the first transform that stands in the way.

    That is one which draws, or comes after one that draws, and cannot do batches.
    """
    first = next((i for i, t in enumerate(transforms) if isinstance(t, BatchedTransform)), len(transforms))
    once = [transform for transform, _, _ in fixed_beginning(transforms[:first])]
    if len(once) < first:
        return transforms[len(once)]
    batched: list[BatchedTransform] = []
    for transform in transforms[first:]:
        if not isinstance(transform, BatchedTransform):
            return transform
        batched.append(transform)
    return Divided(once, batched)


def hindrance(
    spec: ResolvedSpec, train: tuple[View, Sequence[Transform]], val: tuple[View, Sequence[Transform]]
) -> str | None:
    """Say in words why the pictures of both splits cannot be held on the device, or None if they can."""
    divided = divide(train[1])
    if not isinstance(divided, Divided):
        bound = spec.many("transforms", "train")[list(train[1]).index(divided)]
        return f"{bound.label} works on one picture at a time"
    total = 0
    for view, once in ((train[0], divided.once), val):  # nothing is random in evaluation
        if view.sizes is None or not len(view) or not view.sizes.min():
            return "the sizes of the pictures are not known before they are read"
        height, width = view.sizes.max(0).values.tolist()
        if max(height, width) > MAX_PIXELS:
            return f"pictures are up to {height}x{width}, and at most {MAX_PIXELS}x{MAX_PIXELS} is small"
        if (view.sizes != view.sizes[0]).any():
            return f"pictures are of different sizes, up to {height}x{width}"
        total += math.prod(output_shape(once, view)) * len(view)  # a resize may have come first
    return (
        f"they take {total / 1e9:.1f} GB, and at most {MAX_BYTES / 1e9:.0f} are taken"
        if total > MAX_BYTES
        else None
    )


class ResidentLoader:
    """Give the batches of an epoch from a view whose pictures lie on the device, all of one size.

    Like a BatchLoader, without processes that read ahead. The augmentation of a batch is a function of (seed,
    epoch, number of the batch), with several processes of the whole batch.
    """

    def __init__(
        self,
        view: View,
        transforms: Sequence[Transform],
        device: torch.device,
        *,
        batch_size: int,
        seed: int,
        sampler: Sampler | None = None,
        scaled_decode: bool = True,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.view = view
        self.order = BatchOrder(len(view), batch_size, seed, sampler, rank=rank, processes=processes)
        divided = divide(transforms)
        assert isinstance(divided, Divided), "see `hindrance`"
        self._batched = divided.batched
        self._device = device
        images, self._reasons = _read_all(view, divided.once, scaled_decode)
        self._images = images.to(device)
        if self._batched:
            self._prove()

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, from batch `start` on."""
        self.order.epoch, self.order.start = epoch, start
        for part in self.order.parts():
            good, unreadable = self._readable(part)
            indices = part.indices[good]
            images = self._augmented(part)
            if unreadable:
                images = images[good.to(self._device)]
            targets = _targets(self.view, indices)
            yield Batch(images, targets.to(self._device, non_blocking=True), indices, unreadable)

    def close(self) -> None:
        """Do nothing: there are no processes to stop."""

    def _readable(self, part: Part) -> tuple[Tensor, list[tuple[int, str]]]:
        if not self._reasons:
            return torch.ones(len(part.indices), dtype=torch.bool), []
        indices = part.indices.tolist()
        unreadable = [(index, self._reasons[index]) for index in indices if index in self._reasons]
        return torch.tensor([index not in self._reasons for index in indices], dtype=torch.bool), unreadable

    def _augmented(self, part: Part) -> Tensor:
        """Take the images of a part of a batch and change them: `uint8 (B, C, H, W)`, channels last."""
        images = self._images[part.indices.to(self._device)].permute(0, 3, 1, 2)
        seed, epoch = self.order.seed, self.order.epoch
        for place, transform in enumerate(self._batched):
            generator = torch.Generator().manual_seed(seed_for(seed, "augment batch", epoch, part.number, place))
            draws = BatchDraws(
                seed, epoch, part.indices, part.repeats, self._device, generator, part.num_samples, part.first
            )
            images = transform.batched(images, draws)
        return images.contiguous(memory_format=torch.channels_last)

    def _prove(self) -> None:
        """Change one batch. Raises PluginError when what comes out is not a batch of images."""
        part = next(self.order.parts())
        name = " + ".join(type(transform).__name__ for transform in self._batched)
        try:
            images = self._augmented(part)
        except Exception as error:  # what comes out may not even be a batch
            shape = tuple(self._images.permute(0, 3, 1, 2).shape[1:])
            raise PluginError(f"{name} failed on a batch of images {shape}: {describe(error)}") from error
        if images.dtype != torch.uint8 or len(images) != len(part.indices):
            raise PluginError(
                f"{name} breaks its contract: batched must return uint8 (B, C, H, W), "
                f"not {images.dtype} {tuple(images.shape)}"
            )


def _read_all(view: View, transforms: Sequence[Transform], scaled_decode: bool) -> tuple[Tensor, dict[int, str]]:
    """Read the pictures of a view as `uint8 (N, H, W, C)`; black for those that cannot be, with the reasons."""

    def read_one(index: int) -> Tensor | str:
        try:
            return read(view.source(index), transforms, scaled_decode=scaled_decode).permute(1, 2, 0)
        except UnreadableImageError as error:
            return str(error)

    images, reasons = torch.empty(0, dtype=torch.uint8), {}
    found = prefetch(read_one, range(len(view)), threads=auto_workers(), ahead=_AHEAD)
    for index, image in enumerate(found):
        if isinstance(image, str):
            reasons[index] = image
            continue
        if not len(images):
            images = torch.zeros(len(view), *image.shape, dtype=torch.uint8)
        images[index] = image
    return images, reasons


def _targets(view: View, indices: Tensor) -> Tensor:
    if isinstance(view.targets, Tensor):
        return view.targets[indices]
    return torch.stack([view.target(index) for index in indices.tolist()]) if len(indices) else torch.empty(0)
