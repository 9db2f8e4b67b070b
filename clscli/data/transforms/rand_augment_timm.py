"""RandAugment as timm has it, with which DeiT, Swin, ConvNeXt and "ResNet strikes back" were trained."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from clscli.data.transforms.fields import Fill, GridInterpolation, NonNegative, Probability
from clscli.models.fields import PositiveInt

# The strengths at magnitude 10: https://github.com/huggingface/pytorch-image-models, timm/data/auto_augment.py
_DEGREES, _SHEAR, _TRANSLATION, _ENHANCEMENT, _ADDITION = 30, 0.3, 0.45, 0.9, 110

Warp = Callable[..., Tensor]  # F.affine, all but what an operation changes being given


class RandAugmentTimm:
    """Apply random operations of about one strength, each with a probability: RandAugment, as in timm.

    What timm writes as `rand-m9-mstd0.5-inc1` is `magnitude = 9.0, magnitude_std = 0.5`, the defaults. `num_ops`
    operations are drawn, and each is applied with probability `p`; its strength is drawn around `magnitude`, of
    10, with a standard deviation of `magnitude_std`. All operations grow stronger with it (timm's `inc1`). `fill`
    is what lies outside of the image; timm's training fills with the mean colour, and moves pixels bicubically.
    """

    def __init__(
        self,
        *,
        num_ops: PositiveInt = 2,
        magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0,
        magnitude_std: NonNegative = 0.5,
        p: Probability = 0.5,
        interpolation: GridInterpolation = "bilinear",
        fill: Fill = 128,
    ) -> None:
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.magnitude_std = magnitude_std
        self.p = p
        self.warp: Warp = functools.partial(
            F.affine,
            angle=0.0,
            translate=[0.0, 0.0],
            scale=1.0,
            shear=[0.0, 0.0],
            interpolation=InterpolationMode(interpolation),
            fill=fill,
        )

    def __call__(self, image: Tensor) -> Tensor:
        """Augment one image `(C, H, W)`."""
        for _ in range(self.num_ops):
            operation = OPERATIONS[int(torch.randint(len(OPERATIONS), ()))]
            if torch.rand(()).item() < self.p:
                magnitude = self.magnitude + self.magnitude_std * torch.randn(()).item()
                image = operation(image, min(max(magnitude / 10, 0.0), 1.0), self.warp)
        return image


def _either_way(strength: float) -> float:
    return strength if torch.rand(()).item() < 0.5 else -strength


def _factor(level: float) -> float:
    return max(0.1, 1 + _either_way(_ENHANCEMENT * level))


def _shear_angle(level: float) -> float:
    return math.degrees(math.atan(_either_way(_SHEAR * level)))


def autocontrast(image: Tensor, level: float, warp: Warp) -> Tensor:
    contrasted: Tensor = F.autocontrast(image)
    return contrasted


def equalize(image: Tensor, level: float, warp: Warp) -> Tensor:
    equalized: Tensor = F.equalize(image)
    return equalized


def invert(image: Tensor, level: float, warp: Warp) -> Tensor:
    return image.bitwise_not()


def rotate(image: Tensor, level: float, warp: Warp) -> Tensor:
    return warp(image, angle=_either_way(_DEGREES * level))


def posterize(image: Tensor, level: float, warp: Warp) -> Tensor:
    # At full strength timm keeps no bit at all: a black image, which newer versions of Pillow refuse.
    posterized: Tensor = F.posterize(image, max(1, 4 - int(4 * level)))
    return posterized


def solarize(image: Tensor, level: float, warp: Warp) -> Tensor:
    # Compared as integers: 256, which nothing reaches, would be 0 as uint8.
    return torch.where(image.int() >= 256 - int(256 * level), image.bitwise_not(), image)


def solarize_add(image: Tensor, level: float, warp: Warp) -> Tensor:
    # What is below 128 cannot overflow by this.
    return torch.where(image < 128, image + int(_ADDITION * level), image)


def color(image: Tensor, level: float, warp: Warp) -> Tensor:
    adjusted: Tensor = F.adjust_saturation(image, _factor(level))
    return adjusted


def contrast(image: Tensor, level: float, warp: Warp) -> Tensor:
    adjusted: Tensor = F.adjust_contrast(image, _factor(level))
    return adjusted


def brightness(image: Tensor, level: float, warp: Warp) -> Tensor:
    adjusted: Tensor = F.adjust_brightness(image, _factor(level))
    return adjusted


def sharpness(image: Tensor, level: float, warp: Warp) -> Tensor:
    adjusted: Tensor = F.adjust_sharpness(image, _factor(level))
    return adjusted


def shear_x(image: Tensor, level: float, warp: Warp) -> Tensor:
    return warp(image, shear=[_shear_angle(level), 0.0], center=[0.0, 0.0])


def shear_y(image: Tensor, level: float, warp: Warp) -> Tensor:
    return warp(image, shear=[0.0, _shear_angle(level)], center=[0.0, 0.0])


def translate_x(image: Tensor, level: float, warp: Warp) -> Tensor:
    return warp(image, translate=[_either_way(_TRANSLATION * level) * image.shape[-1], 0.0])


def translate_y(image: Tensor, level: float, warp: Warp) -> Tensor:
    return warp(image, translate=[0.0, _either_way(_TRANSLATION * level) * image.shape[-2]])


OPERATIONS: list[Callable[[Tensor, float, Warp], Tensor]] = [
    autocontrast,
    equalize,
    invert,
    rotate,
    posterize,
    solarize,
    solarize_add,
    color,
    contrast,
    brightness,
    sharpness,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
]
