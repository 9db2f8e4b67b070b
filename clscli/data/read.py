"""From a picture to what the model gets: one way, for train, eval and predict alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from torch import Tensor

from clscli.data.decode import Source, UnreadableImageError, decode
from clscli.data.region import Region, take, takes_region
from clscli.data.scaled import decode_region
from clscli.data.transforms.contract import Transform
from clscli.errors import describe

P = ParamSpec("P")
Result = TypeVar("Result")


def read(source: Source, transforms: Sequence[Transform], *, scaled_decode: bool) -> Tensor:
    """Decode a picture and run a pipeline on it, as `uint8 (C, H, W)`.

    A first transform that is a RegionTransform is done by the decoder. Raises UnreadableImageError.
    """
    first = transforms[0] if transforms else None
    if not takes_region(first):
        return apply(transforms, decode(source))

    def choose(height: int, width: int) -> Region:
        return _of(first, first.region, height, width)

    return apply(transforms[1:], decode_region(source, choose, scaled=scaled_decode))


def apply(transforms: Sequence[Transform], image: Tensor) -> Tensor:
    """Run a pipeline of transforms on one `uint8` image `(C, H, W)`.

    Raises UnreadableImageError when a transform fails: some do on small pictures only, or on odd ones.
    """
    for transform in transforms:
        image = _of(transform, transform, image)
    return image


def apply_to_shared(transforms: Sequence[Transform], pixels: Tensor) -> Tensor:
    """Run a pipeline like `apply`, and leave the pixels as they are, for other epochs and processes.

    What comes back may still be a view of them.
    """
    image = pixels
    if transforms and takes_region(first := transforms[0]):
        image = take(pixels, _of(first, first.region, pixels.shape[1], pixels.shape[2]))
        transforms = transforms[1:]
    if transforms and image.untyped_storage().data_ptr() == pixels.untyped_storage().data_ptr():
        image = image.clone()
    return apply(transforms, image)


def _of(transform: object, step: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Do a step of a transform; if it fails, the transform is named, and the picture cannot be read."""
    try:
        return step(*args, **kwargs)
    except Exception as error:
        name = type(transform).__name__
        raise UnreadableImageError(f"{name} failed on it: {describe(error)}") from error
