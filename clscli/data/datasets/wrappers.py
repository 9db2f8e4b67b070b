"""Data sets made of other data sets: joined, shown several times, or in part. Nothing is decoded or copied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from clscli.data.samples import Dataset, LabelSets, Sample, Target, has_label_sets
from clscli.data.split import sample_key


class Concat:
    """Join data sets one after the other; classes of the same name become one.

    Classes are numbered in the order in which the data sets first have them. The names of pictures begin with
    the number of their data set, as two folders may have files of the same name.
    """

    def __init__(self, *, datasets: Annotated[list[Dataset], Field(min_length=1)]) -> None:
        self.datasets = datasets
        self.multi_label = has_label_sets(datasets[0])
        if any(has_label_sets(dataset) != self.multi_label for dataset in datasets):
            raise ValueError("some of the data sets have one label for each picture, others have several")
        if len({bool(dataset.classes) for dataset in datasets}) > 1:
            raise ValueError("some of the data sets have labels, others have none")
        self.classes = list(dict.fromkeys(name for dataset in datasets for name in dataset.classes))
        self.repeats = any(map(has_repeats, datasets))
        positions = {name: index for index, name in enumerate(self.classes)}
        self._translate = [[positions[name] for name in dataset.classes] for dataset in datasets]
        self._ends = list(accumulate(map(len, datasets)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        number, place = self._find(index)
        source, target = self.datasets[number][place]
        return Sample(source, self._translated(number, target))

    def name(self, index: int) -> str:
        """Name a sample by the number of its data set and its name there."""
        number, place = self._find(index)
        return f"{number}/{sample_key(self.datasets[number], place)}"

    @property
    def targets(self) -> Sequence[Any]:
        """The target of every sample; made anew each time, as nobody needs them for long."""
        own = [raw_targets(dataset) for dataset in self.datasets]
        if self.multi_label or not self.classes:
            return _held([self._translated(n, target) for n, targets in enumerate(own) for target in targets])
        parts = [np.array(t)[np.array(o, np.int64)] for t, o in zip(self._translate, own, strict=True)]
        return array("q", np.concatenate(parts).astype(np.int64).tobytes())

    def _find(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)

    def _translated(self, number: int, target: Target) -> Target:
        table = self._translate[number]
        if isinstance(target, tuple):
            return tuple(sorted(table[label] for label in target))
        return None if target is None else table[target]


class Places(ABC):
    """Show samples of one data set at other places than their own: base of those that leave out or repeat."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.classes = dataset.classes
        self.multi_label = has_label_sets(dataset)
        self.repeats = has_repeats(dataset)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def place(self, index: int) -> int:
        """Tell where the data set has the sample."""

    @abstractmethod
    def places(self) -> np.ndarray:
        """Tell where the data set has each of the samples."""

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.dataset[self.place(index)]

    def name(self, index: int) -> str:
        """Name a sample as the data set does, the same at all places that show it."""
        return sample_key(self.dataset, self.place(index))

    @property
    def targets(self) -> Sequence[Any]:
        """The target of every sample; made anew each time, as nobody needs them for long."""
        own = raw_targets(self.dataset)
        if self.multi_label or not self.classes:
            return _held([own[place] for place in self.places().tolist()])
        return array("q", np.array(own, np.int64)[self.places()].tobytes())


class Repeat(Places):
    """Show a data set several times in an epoch of training.

    An epoch has fixed costs: validation, checkpoints, starting again. With few pictures these cost more than the
    training does. In validation every picture is shown once.
    """

    def __init__(self, split: str, *, dataset: Dataset, times: Annotated[int, Field(ge=1)] = 10) -> None:
        super().__init__(dataset)
        self.times = times if split == "train" else 1
        self.repeats |= self.times > 1

    def __len__(self) -> int:
        return self.times * len(self.dataset)

    def place(self, index: int) -> int:
        return index % len(self.dataset)

    def places(self) -> np.ndarray:
        return np.tile(np.arange(len(self.dataset)), self.times)


class Selection(Places):
    """Show the samples whose places are given, as `int64 (N,)`, in that order."""

    def __init__(self, dataset: Dataset, places: np.ndarray) -> None:
        super().__init__(dataset)
        self._places = torch.from_numpy(places)  # which reaches other processes by shared memory

    def __len__(self) -> int:
        return len(self._places)

    def place(self, index: int) -> int:
        return int(self._places[index])

    def places(self) -> np.ndarray:
        return self._places.numpy()


def innermost(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the data sets that one is made of in the end, such as folders."""
    if isinstance(dataset, Concat):
        for inner in dataset.datasets:
            yield from innermost(inner)
    elif isinstance(dataset, Places):
        yield from innermost(dataset.dataset)
    else:
        yield dataset


def has_repeats(dataset: Dataset) -> bool:
    """Tell whether a data set shows some pictures several times."""
    return bool(getattr(dataset, "repeats", False))


def raw_targets(dataset: Dataset) -> Sequence[Any]:
    """Return the target of every sample, of whatever kind."""
    targets: Sequence[Any] | None = getattr(dataset, "targets", None)
    return targets if targets is not None else [dataset[index].target for index in range(len(dataset))]


def _held(targets: list[Any]) -> Sequence[Any]:
    """Hold label sets in little memory; what is unlabelled has only None."""
    return LabelSets(targets) if targets and targets[0] is not None else targets
