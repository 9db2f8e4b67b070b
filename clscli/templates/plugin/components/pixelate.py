"""A transform that takes away what is fine."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor


class Pixelate:
    """Show the picture in coarse pixels, with probability `p`.

    Each is a square of `size` pixels, in the colour of its first one.
    """

    def __init__(
        self, *, size: Annotated[int, Field(ge=2)] = 4, p: Annotated[float, Field(ge=0, le=1)] = 0.5
    ) -> None:
        self.size = size
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        """Change one picture, uint8 (C, H, W), or leave it: torch's generator is seeded for each picture."""
        if torch.rand(()) >= self.p:
            return image
        _, height, width = image.shape
        coarse = image[:, :: self.size, :: self.size]
        blocks = coarse.repeat_interleave(self.size, 1).repeat_interleave(self.size, 2)
        return blocks[:, :height, :width]
