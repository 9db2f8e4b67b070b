"""Some pictures of a split on their way through the transforms, as training draws them in its first epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor
from torch.nn import functional as F

from clscli.data.batch_transforms import build_batch_transforms
from clscli.data.catalog import open_training_data
from clscli.data.headers import read_headers
from clscli.data.order import BatchOrder, Draw
from clscli.data.pipeline import build_transforms
from clscli.data.reader import Reader
from clscli.data.samplers import build_sampler
from clscli.data.split import View
from clscli.seeds import seeded
from clscli.spec import ResolvedSpec

# Pixels of the longer side, above which a picture is shrunk: a sheet shows it smaller still, and photos of many
# megapixels would fill the memory.
_LARGEST = 512


@dataclass(frozen=True)
class Stage:
    """A picture on its way: `uint8 (C, H, W)`, shrunk where it is too large to be shown, and its true size."""

    image: Tensor
    height: int
    width: int


@dataclass(frozen=True)
class Strip:
    """One picture at each stage of its way; None from where it cannot be read on."""

    name: str
    label: str
    stages: list[Stage | None]
    reason: str  # why it cannot be read


@dataclass(frozen=True)
class Mixed:
    """All pictures as one batch after a batch transform, and the classes that each then has a share of."""

    title: str
    p: float  # the probability that a batch of training gets it
    images: list[Stage | None]
    targets: list[list[str]]


@dataclass(frozen=True)
class Preview:
    """What a contact sheet shows: `titles` names the stages, of which the first is the picture as it was."""

    title: str
    titles: list[str]
    strips: list[Strip]
    mixed: list[Mixed]


def preview(spec: ResolvedSpec, split: str, num: int, *, steps: bool) -> Preview:
    """Read the first pictures of a training's first epoch, or some from all over the validation split.

    With `steps`, every transform is a stage, and each batch transform is tried on all the pictures; without,
    there are two stages: before and after all transforms.
    Raises SpecError, PluginError or DataError as a training would before it starts.
    """
    data = open_training_data(spec)
    view = data.train if split == "train" else data.val
    if spec.spec.data.on_bad_image == "skip":
        view = view.without(read_headers(view).unreadable)  # as training does: the others move up
    transforms = build_transforms(spec, split)
    pipeline = "train" if split == "train" else "eval"
    names = [bound.component.spec_name for bound in spec.many("transforms", pipeline)]
    lengths = range(len(transforms) + 1) if steps else (0, len(transforms))
    # The beginning of a pipeline draws the same numbers as the whole of it does.
    scaled = spec.spec.data.scaled_decode
    readers = [Reader(view, transforms[:length], spec.spec.seed, scaled) for length in lengths]
    strips, results = [], []
    for draw in _draws(spec, view, split, num):
        items = [reader[draw] for reader in readers]
        reason = next((item.reason for item in items if item.image is None), "")
        label = ", ".join(view.labels(draw.index))
        strips.append(Strip(view.key(draw.index), label, [_stage(item.image) for item in items], reason))
        results.append((items[-1].image, items[-1].target))
    titles = ["original", *(names if steps else ["transformed"])]
    mixed = _mixed(spec, view, results) if steps and split == "train" else []
    which = "training pictures, as drawn in the first epoch" if split == "train" else "validation pictures"
    return Preview(f"{which}: {', '.join(names) or 'no transforms'}", titles, strips, mixed)


def _draws(spec: ResolvedSpec, view: View, split: str, num: int) -> list[Draw]:
    if split != "train":  # these are read class by class: the first ones would be all of one
        num = min(num, len(view))
        return [Draw(0, index * len(view) // num) for index in range(num)]
    order = BatchOrder(len(view), batch_size=num, seed=spec.spec.seed, sampler=build_sampler(spec, view))
    return list(islice(chain.from_iterable(order), num))


def _stage(image: Tensor | None) -> Stage | None:
    if image is None:
        return None
    height, width = image.shape[1:]
    scale = _LARGEST / max(height, width)
    if scale < 1:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return Stage(image, height, width)


def _mixed(spec: ResolvedSpec, view: View, results: Sequence[tuple[Tensor | None, Tensor]]) -> list[Mixed]:
    """Apply every batch transform to the readable pictures, if there are two or more, of one size."""
    transforms = build_batch_transforms(spec, len(view.classes), multi_label=view.multi_label).transforms
    images = [image for image, _ in results]
    readable = [image for image in images if image is not None]
    if len(readable) < 2 or len({image.shape for image in readable}) > 1:
        return []
    targets = torch.stack([target for image, target in results if image is not None])
    rows = []
    for bound, transform in zip(spec.many("transforms", "batch"), transforms, strict=True):
        with seeded(spec.spec.seed, "step", 0):
            mixed, shares = transform(torch.stack(readable).float(), targets)
        mixtures = iter(zip(mixed.round().clamp(0, 255).byte(), shares, strict=True))
        cells = [next(mixtures) if image is not None else None for image in images]
        rows.append(
            Mixed(
                bound.component.spec_name,
                transform.p,
                [None if cell is None else _stage(cell[0]) for cell in cells],
                [[] if cell is None else _shares(cell[1], view.classes) for cell in cells],
            )
        )
    return rows


def _shares(target: Tensor, classes: Sequence[str]) -> list[str]:
    """Name the two classes that have the greatest shares of a target."""
    shares, order = target.topk(min(2, len(classes)))
    return [f"{100 * share:.0f} % {classes[i]}" for share, i in zip(shares, order, strict=True) if share >= 0.005]
