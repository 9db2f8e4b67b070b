"""Find the pictures that cannot be read before a run starts, by their headers, and how large the others are.

Only files of this machine are looked at: what a tar file, a data base or a URL holds would have to be fetched
as a whole, and is checked when the training reads it. What has been looked at is remembered in the cache
directory, so that the next run on these files only asks the file system whether they are still the same.
"""

from __future__ import annotations

import os
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

from clscli.cache import cache_directory
from clscli.data.decode import Source, UnreadableImageError, check_header
from clscli.data.prefetch import prefetch
from clscli.data.samples import Dataset
from clscli.data.split import View
from clscli.errors import WriteError
from clscli.files import atomic_write
from clscli.locations import is_url
from clscli.observer import LogLines, Observer

_TASK = 256  # pictures: a task for each one would take more memory than its name
_THREADS = 8  # opening a file is mostly waiting
_AHEAD = 4 * _THREADS  # tasks
_WORTH_REMEMBERING = 10_000  # fewer are looked at again in a second
_NOT_SEEN = 0  # the stamp of a file that is not there, or that nobody has looked at


class Headers(NamedTuple):
    """What the headers of a view's pictures say."""

    unreadable: dict[int, str]  # index -> reason
    sizes: Tensor  # int32 (N, 2): height and width, upright; zeros where nobody has looked


def read_headers(view: View, observer: Observer | None = None) -> Headers:
    """Open every picture that is a file, unless it was opened before and has not changed since.

    Besides its name, a picture takes 16 bytes meanwhile.
    """
    observer = observer or LogLines()
    observer.begin("checking pictures", len(view))
    known = Remembered.of(view.dataset)
    unreadable: dict[int, str] = {}
    sizes = np.zeros((len(view), 2), np.int32)
    stamps = np.full(len(view), _NOT_SEEN, np.int64)

    def look(indices: range) -> dict[int, str]:
        first = _source(view, indices[0])
        if isinstance(first, Tensor):
            sizes[indices.start : indices.stop] = [_shape(_source(view, index)) for index in indices]
        if not _is_file(first):
            return {}
        sources = [_source(view, index) for index in indices]
        own = np.array([stamp_of(source) for source in sources], np.int64)
        found = known.sizes_of(own)
        bad = {}
        for row in np.flatnonzero(found[:, 0] == 0).tolist():
            source = sources[row]
            if not _is_file(source):
                continue
            try:
                found[row] = check_header(source)
            except UnreadableImageError as error:
                bad[indices[row]] = str(error)
                own[row] = _NOT_SEEN
        sizes[indices.start : indices.stop], stamps[indices.start : indices.stop] = found, own
        return bad

    tasks = [range(start, min(start + _TASK, len(view))) for start in range(0, len(view), _TASK)]
    try:
        with closing(prefetch(look, tasks, threads=_THREADS, ahead=_AHEAD)) as found:
            for task, bad in zip(tasks, found, strict=True):
                unreadable |= bad
                observer.tick(len(task))
    finally:
        known.add(stamps, sizes)
    return Headers(unreadable, torch.from_numpy(sizes))


def _source(dataset: Dataset | View, index: int) -> Source | None:
    """Return where a picture is; None where its data set reads it by itself, and cannot."""
    try:
        return dataset[index].source
    except UnreadableImageError:
        return None


def _shape(source: Source | None) -> tuple[int, int]:
    """Return height and width of what lies in memory as a tensor."""
    return (source.shape[-2], source.shape[-1]) if isinstance(source, Tensor) else (0, 0)


def _is_file(source: Source | None) -> TypeGuard[str | Path]:
    return isinstance(source, Path) or (isinstance(source, str) and not is_url(source))


def stamp_of(source: Source | None) -> int:
    """Hash path, length and time of change of a file to 64 bits; 0 for what is no file, or not there."""
    if not _is_file(source):
        return _NOT_SEEN
    try:
        status = os.stat(source)  # noqa: PTH116 -- a Path for each name takes minutes
    except (OSError, ValueError):
        return _NOT_SEEN
    text = f"{source}\0{status.st_size}\0{status.st_mtime_ns}"
    return int.from_bytes(blake2b(os.fsencode(text), digest_size=8).digest(), "little", signed=True)


class Remembered:
    """The sizes of a data set's pictures whose headers were good, by the stamps of their files."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.stamps, self.sizes = np.empty(0, np.int64), np.empty((0, 2), np.int32)
        if file is None or not file.is_file():
            return
        try:
            saved = torch.load(file, weights_only=True)
            self.stamps, self.sizes = saved["stamps"].numpy(), saved["sizes"].numpy()
        except Exception:  # a file that something else has damaged: look at the pictures again
            file.unlink(missing_ok=True)

    @classmethod
    def of(cls, dataset: Dataset) -> Remembered:
        """Open what is remembered of a data set, which is known by the folder that its files have in common."""
        if len(dataset) < _WORTH_REMEMBERING:
            return cls(None)
        ends = [_source(dataset, index) for index in (0, len(dataset) - 1)]
        try:
            place = os.path.commonpath([str(source) for source in ends if _is_file(source)])
        except ValueError:  # no files, or on several drives
            return cls(None)
        name = blake2b(os.fsencode(place), digest_size=8).hexdigest()
        return cls(cache_directory() / "headers" / f"{name}.pt")

    def sizes_of(self, stamps: np.ndarray) -> np.ndarray:
        """Return the sizes of the pictures with these stamps, `(N, 2)`; zeros for those not remembered."""
        if not len(self.stamps):
            return np.zeros((len(stamps), 2), np.int32)
        places = np.searchsorted(self.stamps, stamps).clip(max=len(self.stamps) - 1)
        is_known = (self.stamps[places] == stamps) & (stamps != _NOT_SEEN)
        return np.where(is_known[:, None], self.sizes[places], 0)

    def add(self, stamps: np.ndarray, sizes: np.ndarray) -> None:
        """Remember more pictures, in the file as well; a cache that cannot be written to is left as it is."""
        is_new = (stamps != _NOT_SEEN) & (self.sizes_of(stamps)[:, 0] == 0)
        if self.file is None or not is_new.any():
            return
        self.stamps, rows = np.unique(np.append(self.stamps, stamps[is_new]), return_index=True)
        self.sizes = np.append(self.sizes, sizes[is_new], axis=0)[rows]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file) as temporary:
                content = {"stamps": torch.from_numpy(self.stamps), "sizes": torch.from_numpy(self.sizes)}
                torch.save(content, temporary)
        except (OSError, WriteError):
            pass
