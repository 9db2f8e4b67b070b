"""Transforms that make an image blurred or sharp, noisy or compressed."""

from __future__ import annotations

import io
from typing import Annotated

import torch
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torchvision.transforms import v2

from clscli.data.transforms.fields import NonNegative, Pair, Probability, check_range
from clscli.models.fields import PositiveInt

Percent = Annotated[int, Field(ge=1, le=100)]


def gaussian_blur(*, kernel_size: PositiveInt = 13, sigma: Pair = (0.1, 2.0)) -> nn.Module:
    """Blur the image by a Gaussian whose width in pixels is drawn from `sigma`.

    `kernel_size` is odd, the image's sides more than half of it; the default holds three sigmas to each side.
    """
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {kernel_size}")
    check_range("sigma", sigma, least=0.01)
    blur: nn.Module = v2.GaussianBlur(kernel_size, sigma)
    return blur


def random_adjust_sharpness(*, sharpness_factor: NonNegative = 2.0, p: Probability = 0.5) -> nn.Module:
    """Sharpen the image with probability `p`: a factor of 0 blurs it, 1 does nothing, 2 doubles its sharpness."""
    sharpness: nn.Module = v2.RandomAdjustSharpness(sharpness_factor, p)
    return sharpness


class Jpeg:
    """Compress the image as a JPEG and decode it again, with a quality from 1 to 100, or from a range of them."""

    def __init__(self, *, quality: Percent | tuple[Percent, Percent] = (50, 100)) -> None:
        self.lowest, self.highest = quality if isinstance(quality, tuple) else (quality, quality)
        check_range("quality", (self.lowest, self.highest))

    def __call__(self, image: Tensor) -> Tensor:
        """Compress one image `(1 or 3, H, W)`."""
        # By Pillow, as torchvision's encoder is deprecated since 0.29.
        quality = int(torch.randint(self.lowest, self.highest + 1, ()))
        pixels = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
        encoded = io.BytesIO()
        Image.fromarray(pixels.contiguous().numpy()).save(encoded, "JPEG", quality=quality)
        with Image.open(encoded) as decoded:
            flat = torch.frombuffer(bytearray(decoded.tobytes()), dtype=torch.uint8)
        return flat.view(*image.shape[1:], image.shape[0]).permute(2, 0, 1)


class GaussianNoise:
    """Add noise to every channel of every pixel, from a normal distribution.

    `mean` and `sigma` are parts of the whole range: 0.1 is a standard deviation of 25.5 levels.
    """

    def __init__(self, *, mean: Annotated[float, Field(ge=-1, le=1)] = 0.0, sigma: NonNegative = 0.1) -> None:
        self.mean = mean
        self.sigma = sigma

    def __call__(self, image: Tensor) -> Tensor:
        """Add noise to one image `(C, H, W)`."""
        # torchvision's own takes uint8 only since 0.24, and cuts decimals off, which makes the noise weaker.
        noise = torch.randn(image.shape).mul_(self.sigma * 255).add_(self.mean * 255)
        return noise.add_(image).round_().clamp_(0, 255).to(torch.uint8)
