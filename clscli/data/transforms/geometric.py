"""torchvision's transforms that move pixels: rotations, affine and elastic ones."""

from __future__ import annotations

from torch import nn
from torchvision.transforms import InterpolationMode, v2

from clscli.data.transforms.fields import (
    Fill,
    GridInterpolation,
    NonNegative,
    Pair,
    Probability,
    check_range,
)
from clscli.models.fields import PositiveFloat


def random_rotation(
    *,
    degrees: NonNegative | Pair = 15.0,
    interpolation: GridInterpolation = "nearest",
    expand: bool = False,
    fill: Fill = 0,
) -> nn.Module:
    """Rotate the image about its centre by a random angle, anticlockwise where it is positive.

    `degrees` are two bounds, or one for `[-degrees, degrees]`. With `expand`, the whole of the rotated image is
    kept, in a larger size.
    """
    if isinstance(degrees, tuple):
        check_range("degrees", degrees)
    mode = InterpolationMode(interpolation)
    rotation: nn.Module = v2.RandomRotation(degrees, interpolation=mode, expand=expand, fill=fill)
    return rotation


def random_affine(
    *,
    degrees: NonNegative | Pair = 15.0,
    translate: Pair = (0.0, 0.0),
    scale: Pair = (1.0, 1.0),
    shear: NonNegative | Pair | tuple[float, float, float, float] = 0.0,
    interpolation: GridInterpolation = "nearest",
    fill: Fill = 0,
) -> nn.Module:
    """Rotate, shift, enlarge and shear the image at random, about its centre.

    `degrees` and `shear` are angles: two bounds, or one for both directions; four for `shear` along x, then
    along y. `translate` bounds the shifts along x and y, as fractions of width and height.
    """
    for name, angles in (("degrees", degrees), ("shear", shear)):
        if isinstance(angles, tuple):
            check_range(name, angles[:2])
            check_range(name, angles[-2:])
    if not all(0 <= fraction <= 1 for fraction in translate):
        raise ValueError(f"translate must be two fractions, along x and along y, got {list(translate)}")
    check_range("scale", scale, least=0.01)
    mode = InterpolationMode(interpolation)
    affine: nn.Module = v2.RandomAffine(
        degrees, translate=translate, scale=scale, shear=shear, interpolation=mode, fill=fill
    )
    return affine


def random_perspective(
    *,
    distortion_scale: Probability = 0.5,
    p: Probability = 0.5,
    interpolation: GridInterpolation = "bilinear",
    fill: Fill = 0,
) -> nn.Module:
    """See the image from a random side, with probability `p`.

    Each corner moves inwards by up to `distortion_scale` of half the width and height.
    """
    mode = InterpolationMode(interpolation)
    perspective: nn.Module = v2.RandomPerspective(distortion_scale, p=p, interpolation=mode, fill=fill)
    return perspective


def elastic_transform(
    *,
    alpha: NonNegative = 50.0,
    sigma: PositiveFloat = 5.0,
    interpolation: GridInterpolation = "bilinear",
    fill: Fill = 0,
) -> nn.Module:
    """Shift every pixel at random, neighbours alike.

    `alpha` is how far, `sigma` how smooth the shifts are, in pixels; the image's sides must be more than four
    times `sigma`. Simard et al., "Best practices for convolutional neural networks", 2003.
    """
    mode = InterpolationMode(interpolation)
    elastic: nn.Module = v2.ElasticTransform(alpha, sigma, interpolation=mode, fill=fill)
    return elastic
