"""Transforms without chance, for eval and predict as for training.

They call torch directly, as torchvision's own do: `predict` then need not import torchvision, which takes as
long again as torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

Size = Annotated[int, Field(ge=1)]


class Resize:
    """Resize to a size in pixels, with antialiasing.

    One number: the shorter side, the longer one in proportion; two: height and width, whatever the proportions.
    Equal to torchvision's `v2.Resize` on a `uint8` tensor.
    """

    def __init__(
        self,
        *,
        size: Size | Annotated[list[Size], Field(min_length=2, max_length=2)] = 256,
        interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear",
    ) -> None:
        self.size = size
        self.interpolation = interpolation

    def __call__(self, image: Tensor) -> Tensor:
        """Resize one image `(C, H, W)`."""
        height, width = self._output_size(image.shape[-2], image.shape[-1])
        if (height, width) == tuple(image.shape[-2:]):
            return image
        antialias = self.interpolation != "nearest"
        return F.interpolate(image[None], (height, width), mode=self.interpolation, antialias=antialias)[0]

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.size, list):
            return self.size[0], self.size[1]
        if height <= width:
            return self.size, max(1, int(self.size * width / height))
        return max(1, int(self.size * height / width)), self.size


class CenterCrop:
    """Cut a square of a size in pixels out of the middle; smaller images are padded with black.

    Equal to torchvision's `v2.CenterCrop`.
    """

    def __init__(self, *, size: Size = 224) -> None:
        self.size = size

    def __call__(self, image: Tensor) -> Tensor:
        """Crop one image `(C, H, W)`."""
        height, width = image.shape[-2:]
        missing_y, missing_x = max(0, self.size - height), max(0, self.size - width)
        if missing_y or missing_x:
            sides = (missing_x // 2, (missing_x + 1) // 2, missing_y // 2, (missing_y + 1) // 2)
            image = F.pad(image, sides)
            height, width = image.shape[-2:]
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return image[..., top : top + self.size, left : left + self.size]
