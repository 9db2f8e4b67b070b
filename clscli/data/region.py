"""What the first transform of a pipeline takes of a picture, known before the picture is decoded.

Most pipelines begin with cutting out a part and resizing it. When the decoder knows both, it need not give all
pixels of a large JPEG only to have them averaged away: it decodes at 1/2, 1/4 or 1/8 of the size, which a JPEG
offers for a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, Protocol, TypeGuard, runtime_checkable

from torch import Tensor
from torch.nn import functional as F


class Region(NamedTuple):
    """A part of a picture in pixels, and the size that it is resized to, antialiased unless by "nearest"."""

    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int
    interpolation: Literal["bilinear", "bicubic", "nearest"]

    @property
    def reduction(self) -> int:
        """Into how many pixels, of 1, 2, 4 or 8, a side may be divided and leave the output's resolution."""
        if self.interpolation == "nearest":  # takes single pixels, and a reduced picture has only averages
            return 1
        spare = min(self.height // self.out_height, self.width // self.out_width)
        return next(factor for factor in (8, 4, 2, 1) if spare >= factor or factor == 1)


ChooseRegion = Callable[[int, int], Region]


@runtime_checkable
class RegionTransform(Protocol):
    """A transform that only takes a part of a picture and resizes it; any package may offer one.

    First in a pipeline it is not called: it is asked for its region, and the decoder does the rest.
    """

    def region(self, height: int, width: int, /) -> Region:
        """Choose the part of an upright picture of that size; here is where chance is drawn, if there is any."""
        ...

    def __call__(self, image: Tensor, /) -> Tensor: ...


def takes_region(transform: object) -> TypeGuard[RegionTransform]:
    """Tell whether a transform is a RegionTransform; `isinstance` would go through the protocol each time."""
    return _is_region_transform(type(transform))  # type: ignore[arg-type]  # mypy takes no class for hashable


@cache
def _is_region_transform(kind: type) -> bool:
    return issubclass(kind, RegionTransform)


def take(image: Tensor, region: Region) -> Tensor:
    """Cut a region out of an image `uint8 (C, H, W)` and resize it; the memory format stays."""
    top, left, height, width, *size, interpolation = region
    part = image[:, top : top + height, left : left + width]
    if size == [height, width]:
        return part
    # A batch of one by way of (1, H, W, C): of `part[None]`, torch does not see that its channels are last, and
    # takes half as long again to give them first.
    batch = part.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return F.interpolate(batch, size, mode=interpolation, antialias=interpolation != "nearest")[0]
