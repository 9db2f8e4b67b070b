"""torchvision's random transforms, with typed parameters and torchvision's own defaults."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torchvision.transforms import InterpolationMode, v2

Probability = Annotated[float, Field(ge=0, le=1)]
Pair = tuple[float, float]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


def random_resized_crop(
    *,
    size: Annotated[int, Field(ge=1)] = 224,
    scale: Pair = (0.08, 1.0),
    ratio: Pair = (3 / 4, 4 / 3),
    interpolation: Interpolation = "bilinear",
) -> nn.Module:
    """Cut out a random part of the image and resize it to a square, with antialiasing.

    `scale` bounds the part's area as a fraction of the image's, `ratio` its width divided by its height.
    """
    _check_part(scale, ratio)
    mode = InterpolationMode(interpolation)
    crop: nn.Module = v2.RandomResizedCrop(size, scale=scale, ratio=ratio, interpolation=mode, antialias=True)
    return crop


def random_crop(
    *,
    size: Annotated[int, Field(ge=1)] = 32,
    padding: Annotated[int, Field(ge=0)] = 0,
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
) -> nn.Module:
    """Pad the image by `padding` pixels on each side, then cut out a random square.

    An image smaller than the square is padded further.
    """
    crop: nn.Module = v2.RandomCrop(size, padding=padding or None, pad_if_needed=True, padding_mode=padding_mode)
    return crop


def random_horizontal_flip(*, p: Probability = 0.5) -> nn.Module:
    """Mirror the image left to right with probability `p`."""
    flip: nn.Module = v2.RandomHorizontalFlip(p)
    return flip


def random_vertical_flip(*, p: Probability = 0.5) -> nn.Module:
    """Mirror the image top to bottom with probability `p`."""
    flip: nn.Module = v2.RandomVerticalFlip(p)
    return flip


def color_jitter(
    *,
    brightness: Annotated[float, Field(ge=0)] = 0.4,
    contrast: Annotated[float, Field(ge=0)] = 0.4,
    saturation: Annotated[float, Field(ge=0)] = 0.4,
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
) -> nn.Module:
    """Change brightness, contrast, saturation and hue at random, in random order.

    A factor is drawn from `[max(0, 1 - x), 1 + x]`, the hue's shift from `[-hue, hue]` (1 is the whole circle).
    """
    jitter: nn.Module = v2.ColorJitter(brightness, contrast, saturation, hue)
    return jitter


def trivial_augment_wide(*, interpolation: Interpolation = "nearest") -> nn.Module:
    """Apply one random operation of random strength: TrivialAugment, wide (Mueller and Hutter, 2021)."""
    augment: nn.Module = v2.TrivialAugmentWide(interpolation=InterpolationMode(interpolation))
    return augment


def rand_augment(
    *,
    num_ops: Annotated[int, Field(ge=1)] = 2,
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9,
    interpolation: Interpolation = "nearest",
) -> nn.Module:
    """Apply `num_ops` random operations of one strength: RandAugment (Cubuk et al., 2019)."""
    augment: nn.Module = v2.RandAugment(num_ops, magnitude, interpolation=InterpolationMode(interpolation))
    return augment


def random_erasing(
    *,
    p: Probability = 0.25,
    scale: Pair = (0.02, 0.33),
    ratio: Pair = (0.3, 3.3),
    value: Annotated[int, Field(ge=0, le=255)] = 0,
) -> nn.Module:
    """Fill a random rectangle with one value, with probability `p` (Zhong et al., 2017).

    `scale` bounds its area as a fraction of the image's, `ratio` its width divided by its height.
    """
    _check_part(scale, ratio)
    erasing: nn.Module = v2.RandomErasing(p, scale=scale, ratio=ratio, value=value)
    return erasing


def _check_part(scale: Pair, ratio: Pair) -> None:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale must be two fractions above 0, the smaller first, got {list(scale)}")
    if not 0 < ratio[0] <= ratio[1] < math.inf:
        raise ValueError(f"ratio must be two positive numbers, the smaller first, got {list(ratio)}")
