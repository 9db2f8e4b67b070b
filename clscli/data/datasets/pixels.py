"""Sets of small pictures that lie in memory as one block of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clscli.data.samples import Sample


class Pixels:
    """Hold all pictures of a set as one tensor `uint8 (N, C, H, W)`, C being 1 or 3.

    Worker processes read it where it is: a forked one shares the memory, and to a spawned one torch hands
    over a handle to it.
    """

    def __init__(self, images: Tensor, targets: Sequence[int], classes: Sequence[str]) -> None:
        assert images.dtype == torch.uint8, images.dtype
        assert images.ndim == 4, images.shape
        assert len(images) == len(targets), f"{len(images)} pictures, {len(targets)} targets"
        self.images = images
        self.targets = targets
        self.classes = list(classes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], self.targets[index])
