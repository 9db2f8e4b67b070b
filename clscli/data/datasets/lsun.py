"""LSUN: one LMDB database for each class, with encoded pictures."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from clscli.data.datasets.lmdb import keys_of, number_of_keys, value_of
from clscli.data.datasets.published import TRAIN_VAL_TEST, TrainValTest, has_val, part_of, refuse_missing
from clscli.data.packed import PackedStrings
from clscli.data.samples import Sample
from clscli.errors import DataError
from clscli.observer import LogLines

Scene = Literal[
    "bedroom",
    "bridge",
    "church_outdoor",
    "classroom",
    "conference_room",
    "dining_room",
    "kitchen",
    "living_room",
    "restaurant",
    "tower",
]


@has_val
def lsun(
    split: str,
    *,
    root: Path,
    classes: Annotated[list[Scene], Field(min_length=1)] | None = None,
    part: TrainValTest | None = None,
) -> Databases:
    """Open LSUN: 9,895,373 and 3,000 photos of ten scenes, and 10,000 for test without labels.

    `root` holds a database for each scene, such as bedroom_train_lmdb, as the authors' own program
    downloads them. `classes` chooses some of the scenes; `part` reads another part of the set than that of the
    split it stands for. Needs the package lmdb.

    Yu et al., "LSUN: Construction of a Large-scale Image Dataset using Deep Learning with Humans in the Loop",
    2015.
    """
    chosen = part_of("lsun", split, part, TRAIN_VAL_TEST)
    names = [] if chosen == "test" else sorted(set(classes or get_args(Scene)))
    folders = [f"{name}_{chosen}_lmdb" for name in names] or ["test_lmdb"]
    refuse_missing("lsun", root, folders, "https://github.com/fyu/lsun")
    return Databases(root, folders, names)


class Databases:
    """Read encoded pictures from one database for each class, or from a single one without classes.

    Raises DataError for one that is damaged or empty.
    """

    def __init__(self, root: Path, folders: list[str], classes: list[str]) -> None:
        self.classes = classes
        self._paths = [str(root / folder) for folder in folders]
        sizes = [number_of_keys(path) for path in self._paths]
        if 0 in sizes:
            raise DataError(f"{self._paths[sizes.index(0)]}: no pictures in it")
        self._ends = list(accumulate(sizes))  # of each database
        self._keys = PackedStrings(self._all_keys())
        self.targets: array[int] | None = None
        if self.classes:  # a byte for each of millions
            self.targets = array("B", (number for number, size in enumerate(sizes) for _ in range(size)))

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Sample:
        value = value_of(self._paths[bisect_right(self._ends, index)], self._keys[index])
        return Sample(value, None if self.targets is None else self.targets[index])

    def name(self, index: int) -> str:
        """Name a picture by its key, and by its database, as several may have the same."""
        return f"{Path(self._paths[bisect_right(self._ends, index)]).name}/{self._keys[index]}"

    def _all_keys(self) -> Iterator[str]:
        watch = LogLines("reading the keys of LSUN", self._ends[-1], unit="keys")
        for path in self._paths:
            for key in keys_of(path):
                watch.tick(1)
                yield key
