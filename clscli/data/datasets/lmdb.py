"""LMDB: encoded pictures in one database, by key."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clscli.data.datasets.filelist import filelist
from clscli.data.datasets.labels import class_names, positions_of
from clscli.data.decode import UnreadableImageError
from clscli.data.packed import PackedStrings
from clscli.data.samples import Sample
from clscli.errors import DataError, describe
from clscli.locations import PathOrURL


class LMDB:
    """Read encoded pictures from an LMDB database, by keys `class/name` or by a list of keys.

    `keys` is a list, `key label` a line or in any other form that the dataset filelist reads, and `classes`
    are as there. Without a list every key of the database is a picture, and what stands before its last
    slash is its class.

    Needs the package lmdb. Raises DataError when there is no database, or no picture in it.
    """

    def __init__(
        self,
        split: str,
        *,
        path: Path,
        keys: PathOrURL | None = None,
        classes: list[str] | PathOrURL | None = None,
    ) -> None:
        self.path = str(path)
        self.multi_label = False
        if keys is not None:
            listed = filelist(split, path=keys, root="", classes=classes)
            self._keys, self.classes = listed.names, listed.classes
            self.targets, self.multi_label = listed.targets, listed.multi_label
            open_database(self.path)
            return
        if classes is not None:
            raise ValueError("classes are for a list of keys -- without one the keys name them")
        self._keys = PackedStrings(keys_of(self.path))
        if not len(self):
            raise DataError(f"{path}: no pictures in it")
        found = [self._keys[index].rpartition("/")[0] for index in range(len(self))]
        if "" in found:
            key = self._keys[found.index("")]
            raise DataError(f'{path}: the key {key!r} is not class/name -- give a list with labels: keys = "..."')
        self.classes = class_names(found)
        positions = positions_of(self.classes)
        self.targets = array("q", (positions[name] for name in found))

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Sample:
        value = value_of(self.path, self._keys[index])
        return Sample(value, None if self.targets is None else self.targets[index])

    def name(self, index: int) -> str:
        """Name a picture by its key."""
        return self._keys[index]


def keys_of(path: str) -> Iterator[str]:
    """Yield all keys of a database, in its order. Raises DataError when there is none."""
    with open_database(path).begin() as transaction:
        for key in transaction.cursor().iternext(keys=True, values=False):
            yield os.fsdecode(key)


def number_of_keys(path: str) -> int:
    """Tell how many keys a database has. Raises DataError when there is none."""
    return int(open_database(path).stat()["entries"])


def value_of(path: str, key: str) -> bytes:
    """Read what a database has under a key. Raises UnreadableImageError when that cannot be done."""
    try:
        with open_database(path).begin(buffers=False) as transaction:
            value: bytes | None = transaction.get(os.fsencode(key))
    except Exception as error:  # the binding's own, of a damaged file for example
        raise UnreadableImageError(f"{path} cannot be read: {describe(error)}") from None
    if value is None:
        raise UnreadableImageError(f"{path} has no such key")
    return value


_lock = threading.Lock()
_databases: dict[str, tuple[int, Any]] = {}  # by path: the process that opened it, and what it opened


def open_database(path: str) -> Any:
    """Return a database, opened once by every process: LMDB allows no more, and does not survive a fork.

    Raises DataError when there is none.
    """
    try:
        import lmdb
    except ImportError:
        raise DataError("lmdb needs a package that is not installed -- pip install lmdb") from None
    place = Path(path).resolve()
    with _lock:
        process, database = _databases.get(str(place), (0, None))
        if process == os.getpid():
            return database
        if database is not None:
            database.close()  # the parent's, whose own stays open
        if not place.exists():
            raise DataError(f"{path}: no such file or folder")
        try:
            # Without locks and read-only, as it may lie on a read-only disk; workers read at random, not ahead.
            database = lmdb.open(str(place), subdir=place.is_dir(), readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise DataError(f"{path}: is no LMDB database, or a damaged one: {error}") from None
        _databases[str(place)] = os.getpid(), database
        return database
