"""As small as a transform can be."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor


class Invert:
    """Turn the picture into its negative with probability `p`."""

    def __init__(self, *, p: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None:
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        """Change one picture, uint8 (C, H, W), or leave it: torch's generator is seeded for each picture."""
        return 255 - image if torch.rand(()) < self.p else image
