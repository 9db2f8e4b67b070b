"""A data set that needs no files."""

from typing import Annotated

import torch
from pydantic import Field

from clscli.data.samples import Sample
from clscli.seeds import seed_for


class DrawnShapes:
    """Discs and squares, drawn when they are asked for: to try a spec without any pictures.

    A bright shape of random size, place and colour on a dark ground; every split has others.
    """

    def __init__(
        self,
        split: str,
        *,
        num_samples: Annotated[int, Field(ge=2)] = 400,
        size: Annotated[int, Field(ge=8, le=512)] = 32,
    ) -> None:
        self.split = split
        self.size = size
        self.classes = ["disc", "square"]
        self.targets = [index % 2 for index in range(num_samples)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Sample:
        """Draw one picture, uint8 (3, size, size): always the same one for the same index."""
        target = self.targets[index]
        generator = torch.Generator().manual_seed(seed_for("drawn_shapes", self.split, index))
        radius, row, column = torch.rand(3, generator=generator).tolist()
        radius = self.size * (0.15 + 0.2 * radius)
        place = torch.arange(self.size, dtype=torch.float32)
        down = (place - radius - row * (self.size - 2 * radius)).abs()[:, None]
        right = (place - radius - column * (self.size - 2 * radius)).abs()[None, :]
        inside = torch.hypot(down, right) < radius if target == 0 else torch.maximum(down, right) < radius
        dark, bright = torch.randint(128, (2, 3, 1, 1), generator=generator, dtype=torch.uint8)
        return Sample(torch.where(inside, bright + 128, dark), target)
