"""What is checked of data sets and samplers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clscli.data.read import read
from clscli.data.samples import Sample
from clscli.errors import describe
from clscli.seeds import seeded
from clscli.testing.case import Case, RuleError, pickled
from clscli.testing.modules import shown

# Of a large data set, as many samples are looked at, evenly spread; names are cheaper.
_NUM_ITEMS, _NUM_NAMES = 16, 10_000


class DatasetCase(Case):
    """A data set."""

    injected: Mapping[str, Any] = {"split": "train"}

    def indices(self, dataset: Any, limit: int = _NUM_ITEMS) -> list[int]:
        """Choose samples, the first and the last among them."""
        last = len(dataset) - 1
        number = min(limit, last + 1)
        return sorted({round(i * last / max(number - 1, 1)) for i in range(number)})

    def check_classes(self) -> None:
        """Look at the names."""
        classes = getattr(self.build(), "classes", None)
        if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
            raise RuleError(f"classes is {classes!r}", "set self.classes to a list of strings", is_fatal=True)
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            raise RuleError(f"the class {twice[0]!r} is there twice", "give every class a name of its own")

    def check_length(self) -> None:
        """Count the samples."""
        if not len(self.build()):
            raise RuleError(
                "it has no samples", "give check_component parameters with which it has", is_fatal=True
            )

    def check_items(self) -> None:
        """Read some pictures."""
        dataset = self.build()
        for index in self.indices(dataset):
            item = dataset[index]
            if not (isinstance(item, tuple) and len(item) == 2):
                raise RuleError(f"item {index} is {shown(item)}", "return Sample(source, target)", is_fatal=True)
            try:
                read(item[0], [], scaled_decode=True)
            except Exception as error:
                raise RuleError(
                    f"the source of item {index} cannot be read: {describe(error)}",
                    "return a path, encoded bytes, a Pillow image, or pixels uint8 (3, H, W)",
                    is_fatal=True,
                ) from error

    def check_labels(self) -> None:
        """Compare targets with the classes."""
        dataset = self.build()
        is_multi = getattr(dataset, "multi_label", False)
        for index in self.indices(dataset):
            target = Sample(*dataset[index]).target
            labels = target if is_multi and isinstance(target, tuple) else (target,)
            fits = all(type(label) is int and 0 <= label < len(dataset.classes) for label in labels)
            if not (fits if dataset.classes else target is None):
                raise RuleError(
                    f"the target of item {index} is {target!r}, of {len(dataset.classes)} classes",
                    "return the position of its class in self.classes, an int",
                )

    def check_targets(self) -> None:
        """Compare `targets` with the items."""
        dataset = self.build()
        targets = getattr(dataset, "targets", None)
        if targets is None:
            return
        if len(targets) != len(dataset):
            raise RuleError(f"it has {len(targets)} targets for {len(dataset)} samples", "keep one for each")
        for index in self.indices(dataset):
            if targets[index] != dataset[index][1]:
                raise RuleError(
                    f"targets[{index}] is {targets[index]!r}, but item {index} has {dataset[index][1]!r}",
                    "keep both in the same order",
                )

    def check_names(self) -> None:
        """Look for names that occur twice."""
        dataset = self.build()
        if not callable(getattr(dataset, "name", None)) or getattr(dataset, "repeats", False):
            return
        seen: dict[str, int] = {}
        for index in self.indices(dataset, _NUM_NAMES):
            name = dataset.name(index)
            if not isinstance(name, str):
                raise RuleError(f"name({index}) is {name!r}", "return a string")
            if name in seen:
                raise RuleError(
                    f"samples {seen[name]} and {index} are both named {name!r}",
                    "name each by its place in the data",
                )
            seen[name] = index

    def check_copies(self) -> None:
        """Send it to another process, as it were."""
        dataset = self.build()
        dataset[0]  # a file may be open now
        copied = pickled(dataset)
        if len(copied) != len(dataset):
            raise RuleError(
                f"a pickled copy has {len(copied)} samples of {len(dataset)}", "keep them in attributes"
            )
        for index in self.indices(dataset):
            ours, theirs = (read(d[index][0], [], scaled_decode=True) for d in (dataset, copied))
            if dataset[index][1] != copied[index][1] or not torch.equal(ours, theirs):
                raise RuleError(f"item {index} of a pickled copy is another one", "keep them in attributes")


class SamplerCase(Case):
    """A sampler, of sixty samples in four classes."""

    targets = torch.tensor([0] * 30 + [1] * 20 + [2] * 9 + [3])
    injected: Mapping[str, Any] = {"targets": targets, "num_classes": 4}

    def draw(self, sampler: Any, seed: int = 0) -> Any:
        """Draw the order of an epoch."""
        return sampler(torch.Generator().manual_seed(seed))

    def check_length(self) -> None:
        """Ask for its length."""
        length = len(self.build())
        if length < 1:
            raise RuleError("its length is 0", "return the number of samples in an epoch", is_fatal=True)

    def check_order(self) -> None:
        """Draw an epoch."""
        sampler = self.build()
        order, length, last = self.draw(sampler), len(sampler), len(self.targets) - 1
        if not (isinstance(order, Tensor) and order.dtype == torch.int64 and order.shape == (length,)):
            raise RuleError(
                f"it returns {shown(order)}", f"return int64 ({length},), as long as its length", is_fatal=True
            )
        if order.min() < 0 or order.max() > last:
            raise RuleError(
                f"its indices are from {order.min()} to {order.max()}", f"draw from 0 to {last}: len(targets) - 1"
            )

    def check_draws(self) -> None:
        """Draw the same epoch again, after having drawn others."""
        sampler = self.build()
        expected = self.draw(sampler)
        self.draw(sampler, seed=1)
        with seeded("somewhere else"):
            again, other = self.draw(sampler), self.draw(self.build(seed=1))
        if not (torch.equal(again, expected) and torch.equal(other, expected)):
            raise RuleError(
                "the same generator gives another order the second time",
                "pass generator=generator to every function that draws, and keep nothing",
            )
