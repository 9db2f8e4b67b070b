"""Policies, which choose among many operations by a scheme of their own: torchvision's, and 3-Augment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

from clscli.data.transforms.fields import GridInterpolation, NonNegative
from clscli.models.fields import PositiveFloat, PositiveInt


def auto_augment(
    *,
    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet",
    interpolation: GridInterpolation = "nearest",
) -> nn.Module:
    """Apply one of 25 pairs of operations that were found to be good for a data set: AutoAugment.

    Cubuk et al., "AutoAugment: Learning augmentation policies from data", 2018.
    """
    augment: nn.Module = v2.AutoAugment(AutoAugmentPolicy(policy), interpolation=InterpolationMode(interpolation))
    return augment


def rand_augment(
    *,
    num_ops: PositiveInt = 2,
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9,
    interpolation: GridInterpolation = "nearest",
) -> nn.Module:
    """Apply `num_ops` random operations of one strength: RandAugment, as in torchvision.

    `magnitude` is of 30; `rand_augment_timm` is timm's, which most recipes for transformers use. Cubuk et al.,
    "RandAugment: Practical automated data augmentation with a reduced search space", 2019.
    """
    augment: nn.Module = v2.RandAugment(num_ops, magnitude, interpolation=InterpolationMode(interpolation))
    return augment


def trivial_augment_wide(*, interpolation: GridInterpolation = "nearest") -> nn.Module:
    """Apply one random operation of random strength: TrivialAugment, wide.

    Müller and Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation", 2021.
    """
    augment: nn.Module = v2.TrivialAugmentWide(interpolation=InterpolationMode(interpolation))
    return augment


def aug_mix(
    *,
    severity: Annotated[int, Field(ge=1, le=10)] = 3,
    mixture_width: PositiveInt = 3,
    chain_depth: Annotated[int, Field(ge=0)] = 0,
    alpha: PositiveFloat = 1.0,
    all_ops: bool = True,
    interpolation: GridInterpolation = "bilinear",
) -> nn.Module:
    """Blend the image with several chains of operations applied to it: AugMix.

    `mixture_width` chains of `chain_depth` operations each (0: from 1 to 3 at random), of a strength up to
    `severity` of 10. `all_ops = false` leaves out brightness, colour, contrast and sharpness, on which benchmarks
    of robustness test. Shares are drawn with `alpha`: the larger, the more equal. The paper's loss, which compares
    three views of a picture, is not part of it. Hendrycks et al., "AugMix: A simple data processing method to
    improve robustness and uncertainty", 2020.
    """
    augment: nn.Module = v2.AugMix(
        severity,
        mixture_width,
        chain_depth or -1,
        alpha,
        all_ops,
        interpolation=InterpolationMode(interpolation),
    )
    return augment


def three_augment(*, color_jitter: NonNegative = 0.3) -> nn.Module:
    """Make the image grey, solarized or blurred, one of the three at random; then change its colours: 3-Augment.

    `color_jitter` bounds the change of brightness, contrast and saturation. Flips and crops are not part of it.
    Touvron et al., "DeiT III: Revenge of the ViT", 2022.
    """
    # A width of 0.1 to 2 pixels, a threshold of half of the range: https://github.com/facebookresearch/deit
    one_of_three = v2.RandomChoice(
        [v2.RandomGrayscale(1.0), v2.RandomSolarize(128, p=1.0), v2.GaussianBlur(13, sigma=(0.1, 2.0))]
    )
    augment: nn.Module = v2.Compose([one_of_three, v2.ColorJitter(color_jitter, color_jitter, color_jitter)])
    return augment
