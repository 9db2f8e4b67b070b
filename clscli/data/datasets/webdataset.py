"""WebDataset: pictures and labels as members of tar files, here or at URLs."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from clscli.data.datasets.labels import class_index, class_names, positions_of, unknown_class
from clscli.data.datasets.tar_index import find_shards, index_shard
from clscli.data.decode import UnreadableImageError
from clscli.data.packed import PackedStrings
from clscli.data.remote import Span
from clscli.data.samples import Sample
from clscli.errors import DataError, describe
from clscli.locations import PathOrURL, is_url


class WebDataset:
    """Read tar shards of `NAME.jpg` with `NAME.cls`, a class's index or name, or with `NAME.json`.

    `shards` are paths or URLs with numbers in braces, `photos-{000..009}.tar`, or with `*`. `json_key` takes
    the label from this key of `NAME.json` instead of from `NAME.cls`. `classes` names the classes, so that
    labels may be indices into them; without it they are the labels themselves, sorted.

    Where each picture lies is found out once and kept in the cache. From then on any of them can be read at
    any time: they are shuffled, and shared among workers and processes, like the pictures of a folder.

    Raises DataError for shards that are missing, compressed or damaged, and for pictures without a label.
    """

    def __init__(
        self,
        split: str,
        *,
        shards: PathOrURL | list[PathOrURL],
        json_key: str | None = None,
        classes: list[str] | None = None,
    ) -> None:
        patterns = [shards] if isinstance(shards, str) else shards
        self.shards = [shard for pattern in patterns for shard in find_shards(pattern)]
        if not self.shards:
            raise DataError(f"{', '.join(patterns)}: no such file")
        self._shard_of, self._offsets, self._sizes = array("q"), array("q"), array("q")
        labels: list[str] = []
        self._names = PackedStrings(self._read_indexes(json_key, labels))
        if not len(self):
            raise DataError(f"{self.shards[0]}: no pictures in it -- expected members like 0001.jpg and 0001.cls")
        self.classes = class_names(labels) if classes is None else classes
        self.targets = array("q", self._targets(labels))

    def _read_indexes(self, json_key: str | None, labels: list[str]) -> Iterator[str]:
        """Take note of every picture's place and label; yield their names."""
        known: dict[str, str] = {}  # one string a class, not one a picture
        for number, shard in enumerate(self.shards):
            index = index_shard(shard, json_key)
            self._shard_of.extend([number] * len(index.names))
            self._offsets.extend(index.offsets)
            self._sizes.extend(index.sizes)
            labels += [known.setdefault(label, label) for label in index.labels]
            yield from (f"{PurePosixPath(shard).name}/{name}" for name in index.names)

    def _targets(self, labels: list[str]) -> Iterator[int]:
        positions = positions_of(self.classes)
        for index, label in enumerate(labels):
            target = class_index(label, positions)
            if target < 0:
                raise DataError(f"{self.name(index)}: {unknown_class(label, self.classes)}")
            yield target

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Sample:
        shard, start = self.shards[self._shard_of[index]], self._offsets[index]
        end = start + self._sizes[index]
        return Sample(Span(shard, start, end) if is_url(shard) else _read(shard, start, end), self.targets[index])

    def name(self, index: int) -> str:
        """Name a picture by its shard and its member."""
        return self._names[index]


def _read(shard: str, start: int, end: int) -> bytes:
    try:
        with Path(shard).open("rb") as file:
            file.seek(start)
            return file.read(end - start)
    except OSError as error:
        raise UnreadableImageError(f"{shard} cannot be read: {describe(error)}") from None
