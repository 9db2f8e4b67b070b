"""From the spec's transforms to callables, proven on a picture that does not exist before real ones are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from clscli.data.decode import UnreadableImageError
from clscli.data.read import apply, read
from clscli.data.region import RegionTransform, take, takes_region
from clscli.data.split import View
from clscli.data.transforms.contract import Transform
from clscli.errors import PluginError, describe
from clscli.seeds import augmenting, seeded
from clscli.spec import ResolvedSpec

# Neither square nor a multiple of anything, so that a mixed-up height and width cannot go unnoticed.
_TRIAL_SHAPE = (3, 251, 317)
# A transform that is random in one of two cases goes unnoticed once in 2^15 specs.
_TRIAL_DRAWS = 16


def build_transforms(spec: ResolvedSpec, split: str) -> list[Transform]:
    """Build the pipeline of a split: `transforms.train` for train, `transforms.eval` for every other.

    Raises SpecError when the pipeline for evaluation holds a random transform, and PluginError when a
    transform fails on a plain picture or gives anything but `uint8 (C, H, W)`.
    """
    which = "train" if split == "train" else "eval"
    bounds = spec.many("transforms", which)
    transforms: list[Transform] = [spec.construct(bound, split=split) for bound in bounds]
    image = noise()
    for bound, transform in zip(bounds, transforms, strict=True):
        try:
            with seeded(0):
                result = transform(image.clone())
        except Exception as error:
            raise PluginError(
                f"{bound.component} failed on an image of {tuple(image.shape)}: {describe(error)}"
            ) from error
        if not (isinstance(result, Tensor) and result.dtype == torch.uint8 and _has_channels_first(result)):
            found = (
                f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            )
            raise PluginError(
                f"{bound.component} breaks its contract: it must return uint8 (C, H, W), not {found}"
            )
        if which == "eval" and is_random(transform, image):
            raise spec.error(
                bound.path,
                f"{bound.label} is random -- in evaluation every picture must look the same every time",
            )
        if takes_region(transform) and not _keeps_its_word(transform, image, result):
            raise PluginError(
                f"{bound.component} breaks its contract: its region differs from what calling it returns"
            )
        image = result
    return transforms


def output_shape(transforms: Sequence[Transform], view: View) -> tuple[int, int, int]:
    """Return the shape (C, H, W) in which a view's first readable picture leaves a pipeline."""
    with seeded(0):
        for index in range(len(view)):
            try:
                channels, height, width = read(view.source(index), transforms, scaled_decode=True).shape
                return channels, height, width
            except UnreadableImageError:
                continue
        channels, height, width = apply(transforms, noise()).shape
        return channels, height, width


def noise() -> Tensor:
    """Return a picture that does not exist, to try transforms on."""
    return torch.randint(0, 256, _TRIAL_SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _has_channels_first(image: Tensor) -> bool:
    """Tell whether the first of three sides are channels: (H, W, 3) is how other libraries have pictures."""
    return image.ndim == 3 and not (image.shape[-1] <= 4 < image.shape[0])


def _keeps_its_word(transform: RegionTransform, image: Tensor, result: Tensor) -> bool:
    """Tell whether a transform's region, drawn with the same numbers, is what it returned."""
    with seeded(0):
        return torch.equal(take(image, transform.region(image.shape[1], image.shape[2])), result)


def fixed_beginning(transforms: Sequence[Transform]) -> Iterator[tuple[Transform, Tensor, Tensor]]:
    """Yield the first transforms up to one that draws, each with a picture before and after it."""
    image = noise()
    for transform in transforms:
        if is_random(transform, image):
            return
        result = transform(image.clone())
        yield transform, image, result
        image = result


def is_random(transform: Transform, image: Tensor) -> bool:
    """Tell whether a transform makes of the same image now this and now that."""
    with augmenting(0, 0, 0):
        state = torch.get_rng_state()
        first = transform(image.clone())  # a transform may write into its input
        has_drawn = not torch.equal(torch.get_rng_state(), state)
    # What it does but rarely, or not to noise, as autocontrast, is seen from its probability.
    if has_drawn and isinstance(p := getattr(transform, "p", None), float) and 0 < p < 1:
        return True

    def differs(epoch: int) -> bool:
        with augmenting(0, epoch, 0):
            return not torch.equal(first, transform(image.clone()))

    return any(differs(epoch) for epoch in range(1, _TRIAL_DRAWS))
