"""Resizing and cutting to a size: what stands at the head of most pipelines, in training, eval and predict.

They call torch directly, as torchvision's own do: `predict` then need not import torchvision, which takes as
long again as torch. Those that resize a part of the picture tell which: see `clscli.data.region`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clscli.data.region import Region, take
from clscli.data.transforms.fields import Fill, HeightAndWidth, Interpolation, Pair, Size, check_part


def resize(
    *,
    size: Size | HeightAndWidth = 256,
    mode: Literal["crop", "pad", "squash"] | None = None,
    interpolation: Interpolation = "bilinear",
    fill: Fill = 0,
) -> Resize | ResizeAndPad:
    """Resize to a size in pixels, with antialiasing.

    Without a `mode`, one number is the shorter side, the longer one in proportion; two are height and width,
    whatever the proportions. With one, the result has exactly that height and width, one number being a square:
    "crop" fills it and leaves out what is over at both ends, "pad" shows the whole picture and fills the rest
    with `fill`, "squash" changes the proportions.
    """
    if mode == "pad":
        return ResizeAndPad(size=size, interpolation=interpolation, fill=fill)
    if fill != 0:
        raise ValueError(f"fill is for mode 'pad' alone, got {fill}")
    return Resize(size=size, mode=mode, interpolation=interpolation)


class Resize:
    """See `resize`. Without a `mode`, equal to torchvision's `v2.Resize` on a `uint8` tensor."""

    def __init__(
        self,
        *,
        size: Size | HeightAndWidth = 256,
        mode: Literal["crop", "squash"] | None = None,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        self.size = size
        self.mode = mode
        self.interpolation: Interpolation = interpolation

    def __call__(self, image: Tensor) -> Tensor:
        """Resize one image `(C, H, W)`."""
        return take(image, self.region(image.shape[-2], image.shape[-1]))

    def region(self, height: int, width: int) -> Region:
        """Take the whole picture, or as much of its middle as has the proportions asked for."""
        out_height, out_width = self._output_size(height, width)
        top, left, part_height, part_width = 0, 0, height, width
        if self.mode == "crop":
            scale = max(out_height / height, out_width / width)
            part_height, part_width = max(1, round(out_height / scale)), max(1, round(out_width / scale))
            top, left = (height - part_height) // 2, (width - part_width) // 2
        return Region(top, left, part_height, part_width, out_height, out_width, self.interpolation)

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.size, list) or self.mode is not None:
            return _height_and_width(self.size)
        if height <= width:
            return self.size, max(1, int(self.size * width / height))
        return max(1, int(self.size * height / width)), self.size


class ResizeAndPad:
    """See `resize`. The picture is in the middle; of an odd number of pixels to fill, one more is at the end."""

    def __init__(self, *, size: int | list[int], interpolation: Interpolation, fill: int | list[int]) -> None:
        self.height, self.width = _height_and_width(size)
        self.interpolation = interpolation
        self.fill = torch.tensor(fill, dtype=torch.uint8).view(-1, 1, 1)

    def __call__(self, image: Tensor) -> Tensor:
        """Resize one image `(C, H, W)`."""
        channels, height, width = image.shape
        scale = min(self.height / height, self.width / width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (self.height - size[0]) // 2, (self.width - size[1]) // 2
        padded = self.fill.expand(channels, self.height, self.width).clone()
        resized = take(image, Region(0, 0, height, width, *size, self.interpolation))
        padded[:, top : top + size[0], left : left + size[1]] = resized
        return padded


def _height_and_width(size: int | list[int]) -> tuple[int, int]:
    return (size[0], size[1]) if isinstance(size, list) else (size, size)


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


# As in torchvision: so many tries to find a part of the area and shape drawn that lies within the picture.
_TRIES = 10


class RandomResizedCrop:
    """Cut out a random part of the image and resize it to a square, with antialiasing.

    `scale` bounds the part's area as a fraction of the image's, `ratio` its width divided by its height.
    Where ten such parts do not fit into a picture, a long and narrow one perhaps, the largest part in its middle
    is taken whose shape is within `ratio`. Szegedy et al., "Going deeper with convolutions", 2015.
    """

    def __init__(
        self,
        *,
        size: Size = 224,
        scale: Pair = (0.08, 1.0),
        ratio: Pair = (3 / 4, 4 / 3),
        interpolation: Interpolation = "bilinear",
    ) -> None:
        check_part(scale, ratio)
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.interpolation: Interpolation = interpolation

    def __call__(self, image: Tensor) -> Tensor:
        """Crop and resize one image `(C, H, W)`."""
        return take(image, self.region(image.shape[-2], image.shape[-1]))

    def region(self, height: int, width: int) -> Region:
        """Draw a part: its area evenly, its shape evenly on a logarithmic scale, then its place evenly."""
        least, most = (math.log(ratio) for ratio in self.ratio)
        for _ in range(_TRIES):
            area, shape, y, x = torch.rand(4).tolist()
            area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = math.exp(least + shape * (most - least))
            part_height, part_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < part_height <= height and 0 < part_width <= width:
                top, left = int(y * (height - part_height + 1)), int(x * (width - part_width + 1))
                return self._resized(top, left, part_height, part_width)
        part_height = min(height, max(1, round(width / self.ratio[0])))
        part_width = min(width, max(1, round(height * self.ratio[1])))
        return self._resized((height - part_height) // 2, (width - part_width) // 2, part_height, part_width)

    def _resized(self, top: int, left: int, height: int, width: int) -> Region:
        return Region(top, left, height, width, self.size, self.size, self.interpolation)
