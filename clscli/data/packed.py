"""Many strings in little memory, which all processes that read them share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch


class PackedStrings:
    """Hold many strings, such as file names, as one block of bytes and the places where they end.

    A list of ten million `str` objects takes a gigabyte, and every forked worker copies it as soon as it
    touches the reference counts. A block is not copied: forked processes share its pages, and torch hands
    the tensors to spawned ones by shared memory. No string may contain a NUL, which no file name can.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        source = iter(strings)
        batches = iter(lambda: list(islice(source, 4096)), [])  # as `join` holds all that it joins
        self._hold(bytearray().join(map(pack, batches)))

    @classmethod
    def of_blocks(cls, blocks: Iterable[bytes]) -> PackedStrings:
        """Take strings that `pack` has packed already, block after block."""
        packed = cls(())
        packed._hold(bytearray().join(blocks))
        return packed

    def _hold(self, block: bytearray) -> None:
        data = np.frombuffer(block, dtype=np.uint8)
        self._data = torch.from_numpy(data)
        self._ends = torch.from_numpy(np.flatnonzero(data == 0))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        data, ends = self._memory
        start = ends[index - 1] + 1 if index else 0
        return os.fsdecode(bytes(data[start : ends[index]]))

    @cached_property
    def _memory(self) -> tuple[memoryview, memoryview]:
        # Ten times as fast as indexing tensors, for passes over all names.
        return self._data.numpy().data, self._ends.numpy().data

    def __getstate__(self) -> dict[str, Any]:
        # On its way to another process, a tensor's content may move into shared memory: what looked at the
        # old place must not be used again.
        self.__dict__.pop("_memory", None)
        return self.__dict__.copy()


def pack(strings: Iterable[str]) -> bytes:
    """Write strings one after the other, a NUL behind each."""
    return b"".join(os.fsencode(string) + b"\0" for string in strings)
