"""Samplers: which samples an epoch consists of, and in which order.

A sampler is told `targets`, the class index of every sample, `int64 (N,)`, and `num_classes`. Of pictures with
several labels, `targets` is `LabelSets`, a sequence of tuples of indices. A sampler has a length, that of an
epoch, and is called with a generator, which is seeded for the epoch, for the `int64` indices of one epoch's
samples. Several processes draw the same order and take slices of its batches, and a run that is resumed draws it
again: a sampler need not know of either.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import torch
from pydantic import Field
from torch import Tensor

from clscli.data.samples import LabelSets
from clscli.data.split import View
from clscli.errors import PluginError, describe
from clscli.seeds import seed_for
from clscli.spec import ResolvedSpec


class Sampler(Protocol):
    """See the top of this module."""

    def __len__(self) -> int: ...

    def __call__(self, generator: torch.Generator, /) -> Tensor: ...


class Shuffled:
    """Take every sample once in an epoch, in random order."""

    def __init__(self, targets: Tensor | LabelSets) -> None:
        self.num_samples = len(targets)

    def __len__(self) -> int:
        return self.num_samples

    def __call__(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self.num_samples, generator=generator)


class ClassWeighted:
    """Draw samples of rare classes more often.

    A sample is drawn with a probability in proportion to 1 / n^power, of the n samples of its class: with 1
    all classes come equally often, with 0.5 as the square root of their numbers, with 0 as they are. Samples
    are drawn with replacement, as many in an epoch as there are, so some several times and some not at all.
    For pictures with several labels there is the data set `class_balanced` instead.

    Mahajan et al., "Exploring the limits of weakly supervised pretraining", 2018 (the square root).
    """

    def __init__(
        self, targets: Tensor | LabelSets, num_classes: int, *, power: Annotated[float, Field(ge=0)] = 1.0
    ) -> None:
        if isinstance(targets, LabelSets):
            raise ValueError(
                "draws pictures by their one class, and these have several labels -- show those of rare classes "
                'more often by data.train = { type = "class_balanced", dataset = ... }'
            )
        counts = torch.bincount(targets, minlength=num_classes)
        self.by_class = targets.argsort(stable=True)
        self.counts = counts
        self.starts = counts.cumsum(0) - counts
        # Classes first, then samples within them: torch.multinomial takes no more than 2^24 categories.
        self.shares = torch.where(counts > 0, counts.double() ** (1 - power), 0.0)

    def __len__(self) -> int:
        return len(self.by_class)

    def __call__(self, generator: torch.Generator) -> Tensor:
        drawn = torch.multinomial(self.shares, len(self), replacement=True, generator=generator)
        within = torch.rand(len(self), dtype=torch.float64, generator=generator) * self.counts[drawn]
        return self.by_class[self.starts[drawn] + within.long()]


class RepeatedAugmentation:
    """Take some of the samples in an epoch, each several times in a row, differently augmented.

    So a batch holds several views of each of its pictures. An epoch has as many samples as there are, and so
    only one in `repeats` of the pictures, as DeiT has it.

    Hoffer et al., "Augment your batch: improving generalization through instance repetition", 2020; Touvron
    et al., "Training data-efficient image transformers & distillation through attention", 2020.
    """

    def __init__(self, targets: Tensor | LabelSets, *, repeats: Annotated[int, Field(ge=2)] = 3) -> None:
        self.num_samples = len(targets)
        self.repeats = repeats

    def __len__(self) -> int:
        return self.num_samples

    def __call__(self, generator: torch.Generator) -> Tensor:
        chosen = torch.randperm(self.num_samples, generator=generator)[: -(-self.num_samples // self.repeats)]
        return chosen.repeat_interleave(self.repeats)[: self.num_samples]


def build_sampler(spec: ResolvedSpec, view: View) -> Sampler:
    """Build the spec's `data.sampler` for a view, and draw an epoch from it.

    Raises PluginError when it fails or breaks its contract.
    """
    bound = spec.one("data", "sampler")
    sampler: Sampler = spec.construct(bound, targets=view.targets, num_classes=len(view.classes))
    try:
        length = len(sampler)
        order = sampler(torch.Generator().manual_seed(seed_for(spec.spec.seed, "order", 0)))
    except Exception as error:
        raise PluginError(f"{bound.component} failed on {len(view)} samples: {describe(error)}") from error
    if not isinstance(order, Tensor):
        found = f"a {type(order).__name__}"
    elif order.dtype != torch.int64 or order.shape != (length,) or not length:
        found = f"{order.dtype} {tuple(order.shape)}"
    elif order.min() < 0 or order.max() >= len(view):
        found = f"indices from {order.min()} to {order.max()}"
    else:
        return sampler
    raise PluginError(
        f"{bound.component} breaks its contract: it must return torch.int64 ({length},), as long as its length, "
        f"of indices from 0 to {len(view) - 1}, not {found}"
    )
