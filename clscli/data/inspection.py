"""Read every picture of a split once, in full: whether it can be decoded, what it is, and a hash of its content.

For each picture 24 bytes are kept, whatever its size: data sets of millions fit into memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from clscli.data.decode import UnreadableImageError, decode, read_encoded
from clscli.data.prefetch import prefetch
from clscli.data.remote import Span
from clscli.data.split import View
from clscli.observer import Observer

# 16 bytes: two different pictures among 10^9 have one hash with a probability of 10^-21.
DIGEST_BYTES = 16
_NO_DIGEST = bytes(DIGEST_BYTES)
# Reading waits for the disk, and decoding leaves the interpreter to others: more threads than cores pay.
_THREADS = 8
# Pictures in a task, and tasks that may wait: a task for each picture would take more memory than its facts.
_TASK, _TASKS_AHEAD = 16, 4 * _THREADS


@dataclass
class Survey:
    """What was found in a split; the arrays have an element for each picture, zeros for unreadable ones."""

    split: str
    view: View
    unreadable: dict[int, str] = field(default_factory=dict)  # index -> reason
    heights: array[int] = field(default_factory=lambda: array("i"))  # upright, as the transforms get it
    widths: array[int] = field(default_factory=lambda: array("i"))
    digests: bytearray = field(default_factory=bytearray)
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    num_bytes: int = 0

    def class_of(self, index: int) -> str:
        """Name the class of a picture; of several, all of them."""
        return ", ".join(self.view.labels(index))

    def add(self, facts: _Facts) -> None:
        """Take note of the next picture."""
        if facts.reason:
            self.unreadable[len(self.widths)] = facts.reason
        else:
            self.formats[facts.form] += 1
            self.modes[facts.mode] += 1
        self.heights.append(facts.height)
        self.widths.append(facts.width)
        self.digests += facts.digest
        self.num_bytes += facts.num_bytes

    def sides(self, which: Callable[[int, int], int]) -> array[int]:
        """Return the shorter (`min`) or the longer (`max`) side of every readable picture."""
        return array("i", (which(h, w) for h, w in zip(self.heights, self.widths, strict=True) if h))

    def count_smaller(self, height: int, width: int) -> int:
        """Count the readable pictures that are lower or narrower than that."""
        return sum(0 < h < height or 0 < w < width for h, w in zip(self.heights, self.widths, strict=True))


class _Facts(NamedTuple):
    """What is kept of one picture."""

    height: int = 0
    width: int = 0
    mode: str = ""
    form: str = ""
    num_bytes: int = 0
    digest: bytes = _NO_DIGEST
    reason: str = ""  # why it cannot be read


def survey(split: str, view: View, observer: Observer) -> Survey:
    """Read all pictures of a view."""
    found = Survey(split, view)
    observer.begin(f"reading {split}", len(view))
    for facts in _read_all(view):
        for one in facts:
            found.add(one)
        observer.tick(len(facts))
    return found


def _read_all(view: View) -> Iterator[list[_Facts]]:
    """Yield the facts of all pictures in their order, a few at a time, from threads that read ahead."""

    def read(indices: range) -> list[_Facts]:
        return [_read(view, index) for index in indices]

    tasks = (range(len(view))[start : start + _TASK] for start in range(0, len(view), _TASK))
    return prefetch(read, tasks, threads=_THREADS, ahead=_TASKS_AHEAD)


def _read(view: View, index: int) -> _Facts:
    """Read one picture as training does, and its file only once."""
    try:
        source = view.source(index)
        if not isinstance(source, str | Path | Span | bytes):
            return _of_pixels(source)
        content, form, mode = read_encoded(source)
        _, height, width = decode(content).shape
    except UnreadableImageError as error:
        return _Facts(reason=str(error))
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
    return _Facts(height, width, mode, form, len(content), digest)


def _of_pixels(source: Image.Image | Tensor) -> _Facts:
    """Describe a picture that its data set holds decoded."""
    pixels = decode(source)
    _, height, width = pixels.shape
    content = pixels.contiguous().numpy().tobytes()
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=f"{height}x{width}".encode()).digest()
    mode = source.mode if isinstance(source, Image.Image) else {1: "L", 3: "RGB"}[len(source)]
    return _Facts(height, width, mode, "decoded", len(content), digest)
