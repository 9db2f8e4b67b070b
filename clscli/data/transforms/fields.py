"""Types of parameters that many transforms share, and checks of those that belong together."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Pair = tuple[float, float]

Size = Annotated[int, Field(ge=1)]
HeightAndWidth = Annotated[list[Size], Field(min_length=2, max_length=2)]

Level = Annotated[int, Field(ge=0, le=255)]
# One level for all channels, or red, green and blue.
Fill = Level | Annotated[list[Level], Field(min_length=3, max_length=3)]

Interpolation = Literal["nearest", "bilinear", "bicubic"]
# What torch can do along a grid, as rotations need it.
GridInterpolation = Literal["nearest", "bilinear"]
PaddingMode = Literal["constant", "edge", "reflect", "symmetric"]


def check_part(scale: Pair, ratio: Pair) -> None:
    """Raise ValueError unless these bound the area and the shape of a part of an image."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale must be two fractions above 0, the smaller first, got {list(scale)}")
    if not 0 < ratio[0] <= ratio[1] < math.inf:
        raise ValueError(f"ratio must be two positive numbers, the smaller first, got {list(ratio)}")


def check_range(name: str, bounds: Pair, least: float = -math.inf, most: float = math.inf) -> None:
    """Raise ValueError unless `bounds` are two finite numbers within limits, the smaller first."""
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and least <= low <= high <= most):
        limits = [f"at least {least:g}"] * math.isfinite(least) + [f"at most {most:g}"] * math.isfinite(most)
        numbers = " ".join(["two numbers", " and ".join(limits)]).strip()
        raise ValueError(f"{name} must be {numbers}, the smaller first, got {list(bounds)}")
