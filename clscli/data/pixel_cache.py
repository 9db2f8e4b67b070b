"""Decoded pictures in one memory map, which all processes that read or train share: each is decoded once.

Whoever needs a picture first puts it there. Every picture has a place of its own, known in advance, and a mark,
which is written after its pixels: a checksum of them, so that neither a process that was killed nor a machine
that lost its power leaves half a picture that is taken for a whole one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clscli.data.decode import UnreadableImageError
from clscli.data.read import apply_to_shared, read
from clscli.data.split import View
from clscli.data.transforms.contract import Transform

_MARK_BYTES = 8  # ahead of all pixels, an int64 for each picture; 0: not there yet
_IS_THERE = 1 << 32  # added to the checksum, which may be 0


class Slots:
    """Where each picture of a view lies in a cache, by its size there `int32 (N, 2)`: pixel after pixel, RGB."""

    def __init__(self, sizes: Tensor) -> None:
        lengths = 3 * sizes.long().prod(1)
        ends = lengths.cumsum(0) + _MARK_BYTES * len(sizes)
        self.table = torch.column_stack([ends - lengths, sizes])  # int64 (N, 3): start, height, width
        self.num_bytes = int(ends[-1])
        self.num_kept = int((lengths > 0).sum())


class PixelCache:
    """The pictures of a view after the transforms that are done `once`, in a file of `slots.num_bytes`.

    The file may be one in memory; `release` gives it back when the cache is closed or forgotten.
    """

    def __init__(
        self,
        file: Path,
        slots: Slots,
        view: View,
        once: Sequence[Transform],
        rest: Sequence[Transform],
        *,
        scaled_decode: bool,
        release: Callable[[], None] | None = None,
    ) -> None:
        self.file = file
        self.view = view
        self._once, self._rest = once, rest
        self._scaled_decode = scaled_decode
        self._table = slots.table
        self._open()
        self._release = finalize(self, release) if release is not None else None

    def _open(self) -> None:
        self._bytes: npt.NDArray[np.uint8] = np.memmap(self.file, np.uint8, "r+")
        self._marks = self._bytes[: _MARK_BYTES * len(self._table)].view(np.int64)
        self._is_checked = np.zeros(len(self._table), np.bool_)  # by this process

    def __getstate__(self) -> dict[str, Any]:
        left_here = {"_bytes", "_marks", "_is_checked", "_release"}
        return {name: value for name, value in self.__dict__.items() if name not in left_here}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _release=None)
        self._open()

    def pixels(self, index: int) -> Tensor:
        """Return a picture `uint8 (3, H, W)`, channels last, after what is done once; not to be written into.

        Raises UnreadableImageError.
        """
        start, height, width = self._table[index].tolist()
        if not height * width:  # nobody knew how large it would be
            return self._read(index)
        slot = self._bytes[start : start + 3 * height * width]
        if not self._is_checked[index]:
            if not self._marks[index] or self._marks[index] != _mark_of(slot):
                self._fill(index, slot.reshape(height, width, 3))
            self._is_checked[index] = True
        return torch.from_numpy(slot).view(height, width, 3).permute(2, 0, 1)

    def finish(self, pixels: Tensor) -> Tensor:
        """Do what is done anew in every epoch with what `pixels` returns. Raises UnreadableImageError."""
        return apply_to_shared(self._rest, pixels)

    def _read(self, index: int) -> Tensor:
        return read(self.view.source(index), self._once, scaled_decode=self._scaled_decode)

    def _fill(self, index: int, slot: npt.NDArray[np.uint8]) -> None:
        self._marks[index] = 0
        image = self._read(index).permute(1, 2, 0)
        if image.shape != slot.shape:
            found, expected = (" x ".join(map(str, shape[1::-1])) for shape in (image.shape, slot.shape))
            raise UnreadableImageError(
                f"has changed since the run began: it gives {found} pixels instead of {expected}"
            )
        slot[:] = image.numpy()
        self._marks[index] = _mark_of(slot)

    def close(self) -> None:
        """Let go of the file; of one in memory, nothing is left when all processes have."""
        del self._bytes, self._marks
        if self._release is not None:
            self._release()


def _mark_of(pixels: npt.NDArray[np.uint8]) -> int:
    return _IS_THERE + zlib.crc32(pixels.data)
