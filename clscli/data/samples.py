"""What passes between a data set and its reader."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

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

    @property
    def name(self) -> str:
        """How messages and reports name the picture: its path, if it has one."""
        return str(self.source) if isinstance(self.source, str | Path) else "(not a file)"


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


def targets_of(dataset: Dataset) -> Sequence[int]:
    """Return the class index of every sample, without decoding any.

    Raises DataError for a data set that is not of one class a picture.
    """
    if getattr(dataset, "multi_label", False):
        raise DataError(
            "the pictures have several labels each, and models are trained on one class a picture so far "
            "-- choose a column with one label"
        )
    if not dataset.classes:
        raise DataError(
            "the pictures have no labels, so nothing can be learnt from them or measured on them "
            "-- give each one its class; clscli predict works without"
        )
    targets: Sequence[int] | None = getattr(dataset, "targets", None)
    if targets is not None:
        return targets
    return [target for i in range(len(dataset)) if isinstance(target := dataset[i].target, int)]


class LabelSets(Sequence[tuple[int, ...]]):
    """The targets of a multi-label data set, in two arrays: worker processes share these instead of copying."""

    def __init__(self, label_sets: Iterable[Iterable[int]]) -> None:
        self._labels = array("i")
        self._ends = array("q", [0])
        for labels in label_sets:
            self._labels.extend(labels)
            self._ends.append(len(self._labels))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> tuple[int, ...]:  # type: ignore[override]  # of one sample, no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        return tuple(self._labels[self._ends[index] : self._ends[index + 1]])
