"""Transforms of colours alone: torchvision's, with typed parameters, and AlexNet's lighting."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.transforms import v2

from clscli.data.transforms.fields import Level, NonNegative, Pair, Probability, check_range


def color_jitter(
    *,
    brightness: NonNegative = 0.4,
    contrast: NonNegative = 0.4,
    saturation: NonNegative = 0.4,
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
) -> nn.Module:
    """Change brightness, contrast, saturation and hue at random, in random order.

    A factor is drawn from `[max(0, 1 - x), 1 + x]`, the hue's shift from `[-hue, hue]` (1 is the whole circle).
    """
    jitter: nn.Module = v2.ColorJitter(brightness, contrast, saturation, hue)
    return jitter


def random_photometric_distort(
    *,
    brightness: Pair = (0.875, 1.125),
    contrast: Pair = (0.5, 1.5),
    saturation: Pair = (0.5, 1.5),
    hue: Pair = (-0.05, 0.05),
    p: Probability = 0.5,
) -> nn.Module:
    """Change brightness, contrast, saturation, hue and the channels' order, each with probability `p`.

    The pairs bound the factors, and the shift of the hue (1 is the whole circle). Liu et al., "SSD: Single shot
    multibox detector", 2016.
    """
    for name, factors in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        check_range(name, factors, least=0)
    check_range("hue", hue, least=-0.5, most=0.5)
    distort: nn.Module = v2.RandomPhotometricDistort(brightness, contrast, saturation, hue, p)
    return distort


def random_channel_permutation() -> nn.Module:
    """Put red, green and blue in a random order."""
    permutation: nn.Module = v2.RandomChannelPermutation()
    return permutation


def grayscale(*, num_output_channels: Literal[1, 3] = 1) -> nn.Module:
    """Make the image grey, for training and evaluation alike.

    A model on 1 channel computes less; published weights are for 3, which are equal then.
    """
    gray: nn.Module = v2.Grayscale(num_output_channels)
    return gray


def random_grayscale(*, p: Probability = 0.1) -> nn.Module:
    """Make the image grey with probability `p`; it keeps its number of channels."""
    gray: nn.Module = v2.RandomGrayscale(p)
    return gray


def random_invert(*, p: Probability = 0.5) -> nn.Module:
    """Turn the image into its negative with probability `p`."""
    invert: nn.Module = v2.RandomInvert(p)
    return invert


def random_posterize(*, bits: Annotated[int, Field(ge=0, le=8)] = 4, p: Probability = 0.5) -> nn.Module:
    """Keep only the highest `bits` of the 8 bits of each channel, with probability `p`."""
    posterize: nn.Module = v2.RandomPosterize(bits, p)
    return posterize


def random_solarize(*, threshold: Level = 128, p: Probability = 0.5) -> nn.Module:
    """Invert all levels from `threshold` up, with probability `p`."""
    solarize: nn.Module = v2.RandomSolarize(threshold, p)
    return solarize


def random_autocontrast(*, p: Probability = 0.5) -> nn.Module:
    """Stretch each channel to the levels from 0 to 255, with probability `p`."""
    autocontrast: nn.Module = v2.RandomAutocontrast(p)
    return autocontrast


def random_equalize(*, p: Probability = 0.5) -> nn.Module:
    """Make all levels of a channel equally frequent, with probability `p`."""
    equalize: nn.Module = v2.RandomEqualize(p)
    return equalize


# Of the colours of ImageNet's pixels, from 0 to 1: the standard deviations along the principal axes, and the axes,
# as columns for red, green and blue. https://github.com/facebookarchive/fb.resnet.torch, datasets/imagenet.lua
_DEVIATIONS = (0.2175, 0.0188, 0.0045)
_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class Lighting:
    """Shift the colour of the whole image at random, the most in the directions in which colours vary the most.

    `std` is how far, as a part of ImageNet's variation along each principal axis. A grey image, of one channel,
    is left as it is. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012.
    """

    def __init__(self, *, std: NonNegative = 0.1) -> None:
        self.std = std
        self.axes = torch.tensor(_AXES) * torch.tensor(_DEVIATIONS) * 255

    def __call__(self, image: Tensor) -> Tensor:
        """Shift one image `(3, H, W)`."""
        shift = self.axes @ (torch.randn(3) * self.std)
        if image.shape[0] != 3:
            return image
        return (image + shift.view(3, 1, 1)).round_().clamp_(0, 255).to(torch.uint8)
