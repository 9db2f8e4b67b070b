"""What is checked of transforms, of pictures and of batches."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clscli.data.region import take, takes_region
from clscli.seeds import augmenting, seeded
from clscli.testing.case import NUM_CLASSES, Case, RuleError, pickled
from clscli.testing.modules import shown

# Neither square nor a multiple of anything, so that a mixed-up height and width cannot go unnoticed.
_HEIGHT, _WIDTH = 123, 157
_NUM_DRAWS = 4
_NO_STATE = "draw from torch.rand and its like alone, and keep no generator, counter or cache"


def _picture(channels: int = 3) -> Tensor:
    """Make noise as the decoder leaves it: its channels last in memory."""
    generator = torch.Generator().manual_seed(channels)
    shape = (_HEIGHT, _WIDTH, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).permute(2, 0, 1)


def _draws(transform: Any) -> list[Tensor]:
    """Transform one picture as in several epochs."""
    results = []
    for epoch in range(_NUM_DRAWS):
        with augmenting(0, epoch, 7):
            results.append(transform(_picture()))
    return results


def _are_same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(map(torch.equal, ours, theirs))


class TransformCase(Case):
    """A transform."""

    injected: Mapping[str, Any] = {"split": "train"}

    def check_output(self) -> None:
        """Transform pictures in colour and in gray."""
        transform = self.build()
        for channels in (3, 1):
            with seeded(0):
                result = transform(_picture(channels))
            if not (isinstance(result, Tensor) and result.dtype == torch.uint8 and result.ndim == 3):
                raise RuleError(
                    f"of uint8 {(channels, _HEIGHT, _WIDTH)} it makes {shown(result)}",
                    "return uint8 (C, H, W): floats are for the model, which normalises by itself",
                    is_fatal=True,
                )

    def check_inputs(self) -> None:
        """Compare the picture before and after."""
        transform, picture = self.build(), _picture()
        for epoch in range(_NUM_DRAWS):
            with augmenting(0, epoch, 7):
                transform(picture)
        if not torch.equal(picture, _picture()):
            raise RuleError("it writes into the picture", "write into image.clone()")

    def check_draws(self) -> None:
        """Draw the same again, after having drawn something else."""
        transform = self.build()
        expected = _draws(transform)
        if not _are_same(_draws(transform), expected):
            raise RuleError("the same seed gives another picture the second time", _NO_STATE)
        with seeded("somewhere else"):
            other = self.build(seed=1)
            other(_picture())
        if not _are_same(_draws(other), expected):
            raise RuleError("another one gives another picture with the same seed", _NO_STATE)

    def check_evaluation(self) -> None:
        """See that it is constant where it evaluates, if it is told."""
        if not self.bound.takes("split"):
            return
        first, *others = _draws(self.build(split="val"))
        if not all(torch.equal(first, other) for other in others):
            raise RuleError("built for the split 'val', it is random", "leave chance to the split 'train'")

    def check_copies(self) -> None:
        """Send it to another process, as it were."""
        transform = self.build()
        if not _are_same(_draws(pickled(transform)), _draws(transform)):
            raise RuleError("a pickled copy gives other pictures", "keep all that it needs in attributes of it")

    def check_region(self) -> None:
        """Take the part of the picture that it promises."""
        transform = self.build()
        if not takes_region(transform):
            return
        for epoch in range(_NUM_DRAWS):
            with augmenting(0, epoch, 7):
                cut = take(_picture(), transform.region(_HEIGHT, _WIDTH))
            with augmenting(0, epoch, 7):
                called = transform(_picture())
            if not torch.equal(cut, called):
                raise RuleError(
                    "its region is not what calling it returns",
                    "let calling it return take(image, self.region(height, width)) of clscli.data.region",
                )


class BatchTransformCase(Case):
    """A batch transform."""

    injected: Mapping[str, Any] = {"num_classes": NUM_CLASSES}

    def run(self, transform: Any) -> Any:
        """Mix a batch of four."""
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(4, 3, 24, 32, generator=generator) * 255
        with seeded(0):
            return transform(images, torch.tensor([0, 1, 2, NUM_CLASSES - 1]))

    def check_probability(self) -> None:
        """Look at the attribute."""
        p = getattr(self.build(), "p", None)
        if not (isinstance(p, float) and 0 <= p <= 1):
            raise RuleError(f"p is {p!r}", "set self.p to a float from 0 to 1")

    def check_output(self) -> None:
        """Look at types and shapes."""
        mixed = self.run(self.build())
        wanted = f"(float32 (4, 3, 24, 32), float32 (4, {NUM_CLASSES}))"
        if shown(mixed) != wanted:
            raise RuleError(f"it returns {shown(mixed)}", f"return {wanted} for 4 images", is_fatal=True)

    def check_targets(self) -> None:
        """Add up the shares of every target."""
        _, targets = self.run(self.build())
        sums = targets.sum(1)
        if targets.min() < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
            raise RuleError(
                f"the least share of a class is {targets.min().item():.3g}, and the sum of all up to "
                f"{sums.max().item():.3g}",
                "give the classes of a mixed picture the shares that they have of it",
            )

    def check_draws(self) -> None:
        """Draw the same again, after having drawn something else."""
        transform = self.build()
        first = self.run(transform)
        with seeded("somewhere else"):
            other = self.build(seed=1)
            random.random()
        for again in (self.run(transform), self.run(other)):
            if not all(map(torch.equal, again, first)):
                raise RuleError("the same seed gives another batch the second time", _NO_STATE)
