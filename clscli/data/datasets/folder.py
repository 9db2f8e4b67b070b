"""The data set that most people have: one folder of pictures a class."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from clscli.data.decode import extensions
from clscli.data.packed import PackedStrings, pack
from clscli.data.remote import join, list_url
from clscli.data.samples import Sample
from clscli.errors import DataError
from clscli.locations import PathOrURL, is_url
from clscli.observer import LogLines


class Folder:
    """Read pictures from class folders: `root/cat/1.jpg`, nested ones as `root/pets/cat/1.jpg`.

    A class is the path of its folder below `root`, so equal folder names in different places stay different
    classes. Classes and pictures are sorted by name. Hidden files and folders are passed over, and so is
    what no decoder reads; `skipped` counts those by extension. `empty` names class folders without pictures.

    Raises DataError when there is no such folder, no picture in it, or a part of it that cannot be listed.
    """

    def __init__(self, split: str, *, root: PathOrURL | Path) -> None:
        self.root = root if is_url(root) else Path(root)
        self.split = split
        self.skipped: Counter[str] = Counter()
        if isinstance(self.root, Path) and not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "no such folder"
            raise DataError(f"{root}: {what}")
        self._watch = LogLines(f"looking for pictures in {root}", unit="files")
        try:
            found = dict(self._walk(str(root), above=frozenset()))
        except OSError as error:  # most often: no permission to look inside
            raise DataError(f"{error.filename}: {error.strerror}") from None
        self.loose = found.pop("", _NOTHING).num_files  # pictures in root itself belong to no class
        self.empty = sorted(name for name, files in found.items() if not files.num_files)
        self.classes = sorted(name for name, files in found.items() if files.num_files)
        self._names = PackedStrings.of_blocks(found[name].block for name in self.classes)  # without folders
        self._ends = list(accumulate(found[name].num_files for name in self.classes))  # of each class
        self._folders = [join(str(root), name) for name in self.classes]
        if not self.classes:
            raise DataError(f"{root}: {self._why_empty()}")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        name = self._names[index]
        target = bisect_right(self._ends, index)
        folder = self._folders[target]
        return Sample(join(folder, name) if is_url(folder) else f"{folder}{os.sep}{name}", target)

    def name(self, index: int) -> str:
        """Name a picture by its path below the root."""
        name = self._names[index]
        return f"{self.classes[bisect_right(self._ends, index)]}/{name}"

    @cached_property
    def targets(self) -> array[int]:
        """The class index of every picture."""
        starts = [0, *self._ends]
        targets = array("q")
        for target, end in enumerate(self._ends):
            targets += array("q", [target]) * (end - starts[target])
        return targets

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "targets"}  # workers do not ask

    def _walk(self, folder: str, above: frozenset[Hashable], prefix: str = "") -> Iterator[tuple[str, _Files]]:
        """Yield each class folder below `folder` and its files; folders that only hold folders are no classes.

        A link to a folder that it lies in, one of those `above`, would never end: it is passed over.
        """
        here = identity_of(folder)
        if here in above:
            return
        files, folders = [], []
        for name, is_folder in list_folder(folder):
            if name.startswith("."):
                continue
            if is_folder:
                folders.append(name)
                continue
            extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 -- a Path for each name takes minutes
            if extension in extensions():
                files.append(name)
            else:
                self.skipped[extension or name] += 1
            self._watch.tick(1)
        if files or not folders:
            files.sort()
            yield prefix, _Files(pack(files), len(files))
        del files  # of the folders below, only what is packed is held
        for name in sorted(folders):
            below = f"{prefix}/{name}" if prefix else name
            yield from self._walk(join(folder, name), above | {here}, below)

    def _why_empty(self) -> str:
        if self.loose:
            example = f"{Path(self.root).name}/cat/1.jpg"
            return f"{self.loose} pictures, but no class folders -- put them into one folder a class: {example}"
        if self.skipped:
            kinds = ", ".join(f"{n} {ext}" for ext, n in self.skipped.most_common(5))
            return f"no pictures in it, only files of other kinds ({kinds})"
        return "no pictures in it -- expected one folder a class, with pictures in each"


class _Files(NamedTuple):
    """The pictures of a class folder: their names, packed and sorted."""

    block: bytes
    num_files: int


_NOTHING = _Files(b"", 0)


def list_folder(folder: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a folder, local or at a URL, in any order: each name, and whether it is a folder."""
    if is_url(folder):
        yield from list_url(folder)
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, _is_folder(entry)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def identity_of(folder: str) -> Hashable:
    """Name a folder by what it is, not by the way to it; at a URL there is one way only."""
    if is_url(folder):
        return folder
    status = Path(folder).stat()
    return status.st_dev, status.st_ino
