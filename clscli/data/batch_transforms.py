"""Transforms of whole batches in training, on the device: pictures that are mixed, and their targets with them.

A batch transform is a callable with an attribute `p`, the probability that a batch gets it. It takes images,
`float (B, C, H, W)` from 0 to 255, and targets, `int64 (B,)`, and returns images of the same shape and targets
`float (B, K)`, each a distribution over the classes. Of pictures with several labels the targets that it gets are
`float (B, K)` already, 1 for every label, and those that it returns are shares of each. It draws from torch's
global CPU generator, which is seeded for each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from clscli.errors import PluginError, describe
from clscli.seeds import seeded
from clscli.spec import ResolvedSpec


class BatchTransform(Protocol):
    """See the top of this module."""

    p: float

    def __call__(self, images: Tensor, targets: Tensor, /) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class BatchTransforms:
    """Give each batch one of several transforms, or none; without any, it changes nothing at all."""

    transforms: Sequence[BatchTransform]
    num_classes: int

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if not self.transforms:
            return images, targets
        images = images.float()
        drawn = torch.rand(()).item()
        for transform in self.transforms:
            if drawn < transform.p:
                return transform(images, targets)
            drawn -= transform.p
        return images, dense(targets, self.num_classes)


def dense(targets: Tensor, num_classes: int) -> Tensor:
    """Return targets as `float (B, K)`: class indices become one-hot."""
    return targets if targets.is_floating_point() else F.one_hot(targets, num_classes).float()


def build_batch_transforms(spec: ResolvedSpec, num_classes: int, *, multi_label: bool = False) -> BatchTransforms:
    """Build the spec's `transforms.batch`, and try each of them.

    Raises SpecError when their probabilities exceed 1, PluginError when one fails or breaks its contract.
    """
    bounds = spec.many("transforms", "batch")
    transforms: list[BatchTransform] = [spec.construct(bound, num_classes=num_classes) for bound in bounds]
    images, targets = torch.rand(2, 3, 32, 32) * 255, torch.tensor([0, num_classes - 1])
    if multi_label:
        targets = dense(targets, num_classes)
    for bound, transform in zip(bounds, transforms, strict=True):
        if not isinstance(getattr(transform, "p", None), float):
            raise PluginError(f"{bound.component} breaks its contract: it needs an attribute p, a probability")
        try:
            with seeded(0):
                mixed, shares = transform(images.clone(), targets)
            shapes = (mixed.dtype, mixed.shape), (shares.dtype, tuple(shares.shape))
        except Exception as error:
            raise PluginError(f"{bound.component} failed on a batch of 2 images: {describe(error)}") from error
        if shapes != ((images.dtype, images.shape), (torch.float32, (2, num_classes))):
            raise PluginError(
                f"{bound.component} breaks its contract: it must return images as it gets them and targets "
                f"float32 (2, {num_classes}), not {mixed.dtype} {tuple(mixed.shape)} and "
                f"{shares.dtype} {tuple(shares.shape)}"
            )
    total = sum(transform.p for transform in transforms)
    if total > 1 + 1e-6:  # three thirds may be a little more than one
        raise spec.error(
            ("transforms", "batch"), f"a batch gets one of them at most, but their p add up to {total:g}"
        )
    return BatchTransforms(transforms, num_classes)
