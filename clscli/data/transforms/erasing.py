"""Transforms that hide a part of the image."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from clscli.data.transforms.batched import BatchDraws
from clscli.data.transforms.fields import Fill, Pair, Probability, Size, check_part

# As in the paper's code, a rectangle that would not fit is drawn again, ten times at most.
_TRIES = 10


class Box(NamedTuple):
    """A rectangle of pixels, whole within the image."""

    top: int
    left: int
    height: int
    width: int


class RandomErasing:
    """Fill a random rectangle with probability `p`.

    `scale` bounds its area as a fraction of the image's, `ratio` its height divided by its width. `value` is a
    level, red, green and blue, or "random": every channel of every pixel has a level of its own, from 0 to 255.
    Zhong et al., "Random erasing data augmentation", 2017.
    """

    def __init__(
        self,
        *,
        p: Probability = 0.25,
        scale: Pair = (0.02, 0.33),
        ratio: Pair = (0.3, 3.3),
        value: Fill | Literal["random"] = 0,
    ) -> None:
        check_part(scale, ratio)
        self.p = p
        self.scale = scale
        self.log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
        self.value = value

    def __call__(self, image: Tensor) -> Tensor:
        """Fill a rectangle of one image `(C, H, W)`, or none."""
        if torch.rand(()).item() >= self.p:
            return image
        box = self._draw_box(image.shape[-2], image.shape[-1])
        return image if box is None else fill_box(image, box, self.value)

    def batched(self, images: Tensor, draws: BatchDraws) -> Tensor:
        """Fill a rectangle of each of some images of a batch `(B, C, H, W)`."""
        height, width = images.shape[-2:]
        chosen = draws.uniform() < self.p
        low, high = self.scale
        area = height * width * (low + (high - low) * draws.uniform(_TRIES))
        low, high = self.log_ratio
        ratio = (low + (high - low) * draws.uniform(_TRIES)).exp()
        heights, widths = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (heights < height) & (widths < width)
        taken = fits.int().argmax(1, keepdim=True)  # the first that fits
        box_height, box_width = heights.gather(1, taken)[:, 0], widths.gather(1, taken)[:, 0]
        top = (draws.uniform() * (height - box_height + 1)).floor()
        left = (draws.uniform() * (width - box_width + 1)).floor()
        inside = _inside(top, box_height, height)[:, :, None] & _inside(left, box_width, width)[:, None, :]
        inside &= (chosen & fits.any(1))[:, None, None]
        return _fill_boxes(images, inside, self.value, draws)

    def _draw_box(self, height: int, width: int) -> Box | None:
        for _ in range(_TRIES):
            area = height * width * torch.empty(()).uniform_(*self.scale).item()
            ratio = math.exp(torch.empty(()).uniform_(*self.log_ratio).item())
            box_height, box_width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if box_height < height and box_width < width:
                top = int(torch.randint(height - box_height + 1, ()))
                left = int(torch.randint(width - box_width + 1, ()))
                return Box(top, left, box_height, box_width)
        return None


class Cutout:
    """Fill a square around a random point with probability `p`; what lies outside of the image is cut off.

    `size` is its side in pixels, `value` a level, or red, green and blue; the default is the mean of ImageNet's,
    as the paper fills with the data's. DeVries and Taylor, "Improved regularization of convolutional neural
    networks with cutout", 2017.
    """

    def __init__(self, *, size: Size = 16, p: Probability = 1.0, value: Fill = 114) -> None:
        self.size = size
        self.p = p
        self.value = value

    def __call__(self, image: Tensor) -> Tensor:
        """Fill a square of one image `(C, H, W)`, or none."""
        if torch.rand(()).item() >= self.p:
            return image
        height, width = image.shape[-2:]
        first_row = int(torch.randint(height, ())) - self.size // 2
        first_column = int(torch.randint(width, ())) - self.size // 2
        top, left = max(0, first_row), max(0, first_column)
        bottom, right = min(height, first_row + self.size), min(width, first_column + self.size)
        return fill_box(image, Box(top, left, bottom - top, right - left), self.value)

    def batched(self, images: Tensor, draws: BatchDraws) -> Tensor:
        """Fill a square of each of some images of a batch `(B, C, H, W)`."""
        height, width = images.shape[-2:]
        chosen = draws.uniform() < self.p
        top, left = (draws.integers(side) - self.size // 2 for side in (height, width))
        inside = _inside(top, self.size, height)[:, :, None] & _inside(left, self.size, width)[:, None, :]
        return _fill_boxes(images, inside & chosen[:, None, None], self.value, draws)


def fill_box(image: Tensor, box: Box, value: int | list[int] | Literal["random"]) -> Tensor:
    """Return a copy of an image `(C, H, W)` in which a rectangle has one value, or noise."""
    image = image.clone()
    part = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if value == "random":
        part.copy_(torch.randint(256, part.shape, dtype=torch.uint8))
    else:
        part.copy_(torch.tensor(value, dtype=torch.uint8).view(-1, 1, 1))
    return image


def _inside(first: Tensor, size: Tensor | int, length: int) -> Tensor:
    """Tell which of `length` rows or columns lie in a part of each image: `bool (B, length)`."""
    places = torch.arange(length, device=first.device)
    return (places >= first[:, None]) & (places < (first + size)[:, None])


def _fill_boxes(
    images: Tensor, inside: Tensor, value: int | list[int] | Literal["random"], draws: BatchDraws
) -> Tensor:
    """Return a batch `(B, C, H, W)` with one value, or noise, where `inside (B, H, W)` is true."""
    if value == "random":
        filling = (draws.uniform(*images.shape[1:]) * 256).to(torch.uint8)
    else:
        filling = torch.tensor(value, dtype=torch.uint8, device=images.device).view(-1, 1, 1)
    return torch.where(inside[:, None], filling, images)
