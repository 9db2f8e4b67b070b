"""A pipeline in two: what is done to a picture once and kept, and what is done anew in every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clscli.data.pipeline import fixed_beginning
from clscli.data.region import Region, RegionTransform, take, takes_region
from clscli.data.transforms.contract import Transform
from clscli.seeds import seeded

# A 4:3 photo, as most cameras take them, large enough that rounding to whole pixels does not show.
_PHOTO = (3000, 4000)
_NUM_DRAWS = 1000
# In so many of the draws, the part that is cut out of a kept picture has as many pixels as it is resized to. For
# random crops of 8 to 100 % to 224, that is a shorter side of about 300 pixels; 350 would do for two of three
# draws, and take a third more memory.
_SHARE_SHARP = 1 / 2


class Shrink:
    """Resize in proportion the pictures whose shorter side has more than `size` pixels, with antialiasing."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Tensor) -> Tensor:
        """Shrink one image `(C, H, W)`, or not."""
        return take(image, self.region(image.shape[-2], image.shape[-1]))

    def region(self, height: int, width: int) -> Region:
        """Take the whole picture."""
        scale = min(1, self.size / min(height, width))
        return Region(0, 0, height, width, round(height * scale), round(width * scale), "bilinear")


class Halves(NamedTuple):
    """The two parts of a pipeline, one after the other."""

    once: list[Transform]
    rest: list[Transform]


def divide(transforms: Sequence[Transform]) -> Halves:
    """Divide a pipeline before the first transform that draws.

    What comes before it is done once, exactly as it would be in every epoch. Where nothing does, and the first
    transform resizes a part that it draws, pictures are shrunk to as many pixels as most draws need.
    """
    once: list[Transform] = []
    for transform, image, result in fixed_beginning(transforms):
        if _shape_after(transform, tuple(image.shape)) != tuple(result.shape) or len(result) != 3:
            break  # the size of what it gives is not known beforehand
        once.append(transform)
    rest = list(transforms[len(once) :])
    if not once and rest and takes_region(rest[0]):
        once = [Shrink(_shorter_side(rest[0]))]
    return Halves(once, rest)


def _shorter_side(transform: RegionTransform) -> int:
    """Return how many pixels the shorter side of a photo must have for most of a transform's draws."""
    with seeded(0):
        regions = [transform.region(*_PHOTO) for _ in range(_NUM_DRAWS)]
    needed = sorted(math.sqrt(r.out_height * r.out_width / (r.height * r.width)) for r in regions)
    return math.ceil(min(_PHOTO) * needed[int(_SHARE_SHARP * _NUM_DRAWS)])


def sizes_after(once: Sequence[Transform], sizes: Tensor) -> Tensor:
    """Return the sizes `int32 (N, 2)` of pictures of such sizes when they have been through the transforms.

    Zeros stay zeros, and stand for what a transform cannot do.
    """
    packed, places = np.unique(sizes.contiguous().numpy().view(np.int64), return_inverse=True)
    distinct = packed.view(np.int32).reshape(-1, 2)
    for transform in once:
        known: dict[tuple[int, int], tuple[int, int]] = {(0, 0): (0, 0)}
        for height, width in distinct.tolist():
            if (height, width) not in known:
                after = _shape_after(transform, (3, height, width))
                known[height, width] = after[1:] if after else (0, 0)
        distinct = np.array([known[height, width] for height, width in distinct.tolist()], np.int32)
    return torch.from_numpy(distinct[places.reshape(-1)])


def _shape_after(transform: Transform, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Find out what shape a transform gives without computing any pixel; None if that cannot be."""
    try:
        if takes_region(transform):
            region = transform.region(*shape[1:])
            return shape[0], region.out_height, region.out_width
        channels, height, width = transform(torch.empty(shape, dtype=torch.uint8, device="meta")).shape
    except Exception:  # whatever a transform of somebody else's makes of a picture that has only a shape
        return None
    return channels, height, width
