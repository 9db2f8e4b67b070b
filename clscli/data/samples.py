"""What passes between a data set and its reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from clscli.data.decode import Source


class Sample(NamedTuple):
    """One picture, not yet decoded, and the index of its class in the data set's `classes`."""

    source: Source
    target: int

    @property
    def name(self) -> str:
        """How messages and reports name the picture: its path, if it has one."""
        return str(self.source) if isinstance(self.source, str | Path) else "(not a file)"


class Dataset(Protocol):
    """What a dataset component gives: class names, a length, and samples by index.

    A `targets` attribute (one class index a sample) is used when there is one; otherwise each sample is
    fetched once to ask for its target.
    """

    @property
    def classes(self) -> list[str]:
        """Class names; a sample's target is an index into them."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def targets_of(dataset: Dataset) -> Sequence[int]:
    """Return the class index of every sample, without decoding any."""
    targets: Sequence[int] | None = getattr(dataset, "targets", None)
    return targets if targets is not None else [dataset[i].target for i in range(len(dataset))]
