"""The data set that most people have: one folder of pictures a class."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from clscli.data.decode import extensions
from clscli.data.samples import Sample
from clscli.errors import DataError


class Folder:
    """Read pictures from class folders: `root/cat/1.jpg`, nested ones as `root/pets/cat/1.jpg`.

    A class is the path of its folder below `root`, so equal folder names in different places stay different
    classes. Classes and pictures are sorted by name. Hidden files and folders are passed over, and so is
    what no decoder reads; `skipped` counts those by extension. `empty` names class folders without pictures.

    Raises DataError when there is no such folder, no picture in it, or a part of it that cannot be listed.
    """

    def __init__(self, split: str, *, root: Path) -> None:
        self.root = root
        self.split = split
        self.skipped: Counter[str] = Counter()
        self.empty: list[str] = []
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "no such folder"
            raise DataError(f"{root}: {what}")
        try:
            found = dict(self._walk(root, above=frozenset()))
        except OSError as error:  # most often: no permission to look inside
            raise DataError(f"{error.filename}: {error.strerror}") from None
        self.loose = len(found.pop("", []))  # pictures in root itself belong to no class
        self.empty = sorted(name for name, files in found.items() if not files)
        self.classes = sorted(name for name, files in found.items() if files)
        self._names = PackedStrings(f"{c}/{name}" for c in self.classes for name in found[c])
        self.targets = array("l", (i for i, c in enumerate(self.classes) for _ in found[c]))
        if not self.classes:
            raise DataError(f"{root}: {self._why_empty()}")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(self.root / self._names[index]), self.targets[index])

    def _walk(
        self, folder: Path, above: frozenset[_Identity], prefix: str = ""
    ) -> Iterator[tuple[str, list[str]]]:
        """Yield each class folder below `folder` and its files; folders that only hold folders are no classes.

        A link to a folder that it lies in, one of those `above`, would never end: it is passed over.
        """
        here = _identity(folder)
        if here in above:
            return
        files, folders = [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.append(entry.name)
                elif Path(entry.name).suffix.lower() in extensions():
                    files.append(entry.name)
                else:
                    self.skipped[Path(entry.name).suffix.lower() or entry.name] += 1
        if files or not folders:
            yield prefix, sorted(files)
        for name in sorted(folders):
            yield from self._walk(folder / name, above | {here}, f"{prefix}/{name}" if prefix else name)

    def _why_empty(self) -> str:
        if self.loose:
            example = f"{self.root.name}/cat/1.jpg"
            return f"{self.loose} pictures, but no class folders -- put them into one folder a class: {example}"
        if self.skipped:
            kinds = ", ".join(f"{n} {ext}" for ext, n in self.skipped.most_common(5))
            return f"no pictures in it, only files of other kinds ({kinds})"
        return "no pictures in it -- expected one folder a class, with pictures in each"


_Identity = tuple[int, int]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(folder: Path) -> _Identity:
    """Name a folder by what it is, not by the way to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


class PackedStrings:
    """Hold many strings as one block of bytes, which worker processes share instead of copying.

    A list of a million `str` objects is copied into every forked worker as soon as reference counts are
    touched; a `bytes` object and an array are not.
    """

    def __init__(self, strings: Iterator[str]) -> None:
        data = bytearray()
        self._ends = array("q", [0])
        for string in strings:
            data += os.fsencode(string)
            self._ends.append(len(data))
        self._data = bytes(data)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return os.fsdecode(self._data[self._ends[index] : self._ends[index + 1]])
