"""torchvision's transforms that change how much of the image is seen, or in what size."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from clscli.data.transforms.batched import BatchDraws
from clscli.data.transforms.fields import (
    Fill,
    HeightAndWidth,
    Interpolation,
    PaddingMode,
    Pair,
    Probability,
    Size,
    check_range,
)
from clscli.models.fields import Count


class RandomCrop:
    """Pad the image by `padding` pixels on each side, then cut out a random part of a size.

    `size` is a square's, or height and width. An image smaller than that is padded further.
    """

    def __init__(
        self,
        *,
        size: Size | HeightAndWidth = 32,
        padding: Count = 0,
        fill: Fill = 0,
        padding_mode: PaddingMode = "constant",
    ) -> None:
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode
        self.crop = v2.RandomCrop(
            size, padding=padding or None, pad_if_needed=True, fill=fill, padding_mode=padding_mode
        )

    def __call__(self, image: Tensor) -> Tensor:
        """Crop one image `(C, H, W)`."""
        cropped: Tensor = self.crop(image)
        return cropped

    def batched(self, images: Tensor, draws: BatchDraws) -> Tensor:
        """Crop a batch `(B, C, H, W)`: one look-up of pixels, as the padding is where no pixel is."""
        height, width = images.shape[-2:]
        rows, no_row = self._positions(height, self.height, draws)
        columns, no_column = self._positions(width, self.width, draws)
        batch = torch.arange(len(images), device=images.device)[:, None, None]
        cropped = images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
        if self.padding_mode == "constant":
            fill = torch.tensor(self.fill, dtype=torch.uint8, device=images.device)
            outside = no_row[:, :, None, None] | no_column[:, None, :, None]
            cropped = torch.where(outside, fill, cropped)
        return cropped.permute(0, 3, 1, 2)

    def _positions(self, length: int, size: int, draws: BatchDraws) -> tuple[Tensor, Tensor]:
        """Draw which rows or columns of `length` each image's part has, and which of these lie outside."""
        padding = self.padding + max(0, size - length - 2 * self.padding)
        first = draws.integers(length + 2 * padding - size + 1) - padding
        wanted = first[:, None] + torch.arange(size, device=first.device)
        outside = (wanted < 0) | (wanted >= length)
        if self.padding_mode == "reflect":
            wanted = wanted.remainder(max(1, 2 * (length - 1)))
            wanted = torch.where(wanted >= length, 2 * (length - 1) - wanted, wanted)
        elif self.padding_mode == "symmetric":
            wanted = wanted.remainder(2 * length)
            wanted = torch.where(wanted >= length, 2 * length - 1 - wanted, wanted)
        return wanted.clamp(0, length - 1), outside


def pad(
    *,
    padding: Count | Annotated[list[Count], Field(min_length=4, max_length=4)] = 4,
    fill: Fill = 0,
    padding_mode: PaddingMode = "constant",
) -> nn.Module:
    """Pad the image by a number of pixels on all sides, or by four: left, top, right and bottom."""
    padded: nn.Module = v2.Pad(padding, fill=fill, padding_mode=padding_mode)
    return padded


def random_zoom_out(*, side_range: Pair = (1.0, 4.0), fill: Fill = 0, p: Probability = 0.5) -> nn.Module:
    """Place the image somewhere on a plain ground that is larger, with probability `p`.

    The ground's sides are the image's times a factor from `side_range`: let a transform to a fixed size follow.
    """
    check_range("side_range", side_range, least=1)
    zoom: nn.Module = v2.RandomZoomOut(fill=fill, side_range=side_range, p=p)
    return zoom


def random_resize(
    *, min_size: Size = 256, max_size: Size = 480, interpolation: Interpolation = "bilinear"
) -> nn.Module:
    """Resize the shorter side to a random number of pixels from `min_size` to `max_size`, with antialiasing.

    As VGG and ResNet were trained, a `random_crop` to a fixed size following.
    """
    if max_size < min_size:
        raise ValueError(f"max_size must be at least min_size, which is {min_size}, got {max_size}")
    # torchvision leaves the upper bound out.
    mode = InterpolationMode(interpolation)
    resize: nn.Module = v2.RandomResize(min_size, max_size + 1, interpolation=mode, antialias=True)
    return resize


def random_shortest_size(
    *,
    min_size: Annotated[list[Size], Field(min_length=1)] = [256, 320, 384, 448],  # noqa: B006 -- never changed
    max_size: Size | None = None,
    interpolation: Interpolation = "bilinear",
) -> nn.Module:
    """Resize the shorter side to one of these numbers of pixels at random, with antialiasing.

    Where the longer side would then exceed `max_size`, it is brought to that instead.
    """
    mode = InterpolationMode(interpolation)
    resize: nn.Module = v2.RandomShortestSize(min_size, max_size, interpolation=mode, antialias=True)
    return resize


def scale_jitter(
    *,
    target_size: HeightAndWidth = [224, 224],  # noqa: B006 -- never changed
    scale_range: Pair = (0.1, 2.0),
    interpolation: Interpolation = "bilinear",
) -> nn.Module:
    """Resize the image to fit `target_size`, height and width, times a random factor, with antialiasing.

    Proportions are kept and the factor is drawn from `scale_range`: let a `random_crop` to a fixed size follow,
    which pads what is too small. Ghiasi et al., "Simple copy-paste is a strong data augmentation", 2021.
    """
    check_range("scale_range", scale_range, least=0.01)
    mode = InterpolationMode(interpolation)
    jitter: nn.Module = v2.ScaleJitter(tuple(target_size), scale_range, interpolation=mode, antialias=True)
    return jitter
