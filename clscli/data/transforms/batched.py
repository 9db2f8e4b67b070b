"""Transforms that can also do a whole batch at once, on whatever device it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchDraws:
    """Which samples a batch has, and chance for each of them.

    Several processes have a slice of the batch each: they draw for all of it and take what belongs to theirs.
    """

    seed: int
    epoch: int
    indices: Tensor  # int64 (B,), on the CPU
    repeats: Tensor  # int64 (B,), see `clscli.data.order.Draw`
    device: torch.device
    generator: torch.Generator  # seeded for the epoch and the batch
    num_samples: int  # of the batch, of all processes together
    first: int  # where in it the own slice begins

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers from 0 to 1, 1 left out: `float32 (B, *shape)`."""
        drawn = torch.rand(self.num_samples, *shape, generator=self.generator)
        return drawn[self.first : self.first + len(self.indices)].to(self.device)

    def integers(self, end: int) -> Tensor:
        """Draw numbers from 0 to `end`, `end` left out: `int64 (B,)`."""
        return (self.uniform() * end).long().clamp_(max=end - 1)


@runtime_checkable
class BatchedTransform(Protocol):
    """A transform that does for a batch of images of one size what it does for a single one.

    It is what `data.cache = "device"` asks of each transform that draws; any package may offer one.
    """

    def __call__(self, image: Tensor, /) -> Tensor: ...

    def batched(self, images: Tensor, draws: BatchDraws, /) -> Tensor:
        """Change `uint8 (B, C, H, W)`, which is channels last in memory, each image by chance of its own.

        Chance is drawn from `draws` alone. The input is left as it is.
        """
        ...
