"""What passes between a data set and its reader."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clscli.data.decode import Source
from clscli.errors import DataError

# One class; several, or none of them, where a data set is `multi_label`; None where it has no labels.
Target = int | tuple[int, ...] | None


class Sample(NamedTuple):
    """One picture, not yet decoded, and the index of its class in the data set's `classes`.

    The source is a path, a URL that fsspec knows (`s3://...`), encoded bytes, a Pillow image, or pixels as a
    `uint8` tensor `(3 or 1, H, W)`.
    """

    source: Source
    target: Target


class Dataset(Protocol):
    """What a dataset component gives: class names, a length, and samples by index.

    What it may have besides:

    - `targets`, the target of every sample; without it each sample is fetched once to ask for its own.
    - `name(index) -> str`, which names a sample independently of where the data lie, for messages and for
      saved divisions into train and val; without it they are "#0", "#1", ...
    - `multi_label = True`, where a target is a tuple of class indices, maybe an empty one.

    A data set without labels has no `classes`, and None for every target.
    """

    @property
    def classes(self) -> list[str]:
        """Class names; a sample's target is an index into them."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def has_label_sets(dataset: Dataset) -> bool:
    """Tell whether a picture may have several labels."""
    return bool(getattr(dataset, "multi_label", False))


def targets_of(dataset: Dataset) -> Sequence[int]:
    """Return the class index of every sample of a data set of one class a picture, without decoding any.

    Raises DataError when there are none.
    """
    _refuse_unlabelled(dataset)
    targets: Sequence[int] | None = getattr(dataset, "targets", None)
    if targets is not None:
        return targets
    return [_class_index(dataset, index) for index in range(len(dataset))]


def _class_index(dataset: Dataset, index: int) -> int:
    target: object = dataset[index].target
    try:
        return operator.index(target)  # type: ignore[arg-type]  # NumPy's integers are none of Python's
    except TypeError:
        raise DataError(f"sample #{index} has the target {target!r}, which is not the index of a class") from None


def label_sets_of(dataset: Dataset) -> LabelSets:
    """Return the class indices of every sample of a multi-label data set. Raises DataError when there are none."""
    _refuse_unlabelled(dataset)
    targets = getattr(dataset, "targets", None)
    if targets is None:
        found = (dataset[i].target for i in range(len(dataset)))
        targets = [target for target in found if isinstance(target, tuple)]
    return targets if isinstance(targets, LabelSets) else LabelSets(targets)


def _refuse_unlabelled(dataset: Dataset) -> None:
    if not dataset.classes:
        raise DataError(
            "the pictures have no labels, so nothing can be learnt from them or measured on them "
            "-- give each one its class; clscli predict works without"
        )


class LabelSets(Sequence[tuple[int, ...]]):
    """The targets of a multi-label data set, in two arrays: worker processes share these instead of copying.

    `labels` is `int32 (M,)`, sample after sample; `ends` is `int64 (N + 1,)`, where those of each begin and end.
    """

    def __init__(self, label_sets: Iterable[Iterable[int]]) -> None:
        labels, ends = array("i"), array("q", [0])
        for one in label_sets:
            labels.extend(dict.fromkeys(one))  # a label that is named twice is one
            ends.append(len(labels))
        self.labels: npt.NDArray[np.int32] = np.frombuffer(labels, np.int32)
        self.ends: npt.NDArray[np.int64] = np.frombuffer(ends, np.int64)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> tuple[int, ...]:  # type: ignore[override]  # of one sample, no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        return tuple(self.labels[self.ends[index] : self.ends[index + 1]].tolist())

    def counts(self, num_classes: int) -> npt.NDArray[np.int64]:
        """Count the samples that have each label."""
        counts: npt.NDArray[np.int64] = np.bincount(self.labels, minlength=num_classes)
        return counts

    def of(self, indices: npt.NDArray[np.int64], translate: npt.NDArray[np.int32]) -> LabelSets:
        """Return the sets of some samples, with other numbers for the classes."""
        sizes = np.diff(self.ends)[indices]
        result = LabelSets([])
        result.ends = np.concatenate([[0], np.cumsum(sizes)])
        places = np.repeat(self.ends[:-1][indices] - result.ends[:-1], sizes) + np.arange(result.ends[-1])
        result.labels = translate[self.labels[places]]
        return result

    def rarest(self, num_classes: int) -> npt.NDArray[np.int64]:
        """Return for each sample the label that the fewest samples have, or `num_classes` for one without any."""
        by_frequency = np.argsort(self.counts(num_classes), kind="stable")
        rank = np.empty(num_classes, np.int64)
        rank[by_frequency] = np.arange(num_classes)
        least = np.full(len(self), num_classes)
        owners = np.repeat(np.arange(len(self)), np.diff(self.ends))
        np.minimum.at(least, owners, rank[self.labels])
        rarest: npt.NDArray[np.int64] = np.append(by_frequency, num_classes)[least]
        return rarest
