"""Batches from the processes that read to the one that trains, in shared memory that is used again and again.

New shared memory for every batch, as DataLoader would take it, comes page by page from the system: to have it
filled with zeros there took a tenth of all the time that an image from a photo takes.
"""

from __future__ import annotations

import ctypes
import math
import shutil
from collections.abc import Sequence
from multiprocessing.sharedctypes import RawArray
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

# Where multiprocessing takes shared memory from, if there is room; else it takes a file for temporary ones.
_SHARED_MEMORY = Path("/dev/shm")


class Place(NamedTuple):
    """Where the images of a batch lie, and how many there are."""

    number: int
    num_images: int


class Handover:
    """Shared memory for the batches of some workers, for images `uint8 (C, H, W)` of one shape.

    Every worker has places of its own and fills them in turn. It has at most `ahead` batches under way; as the
    trainer copies a batch before it asks for the one after the next, one place more than that is enough.
    """

    def __init__(self, shape: tuple[int, int, int], batch_size: int, workers: int, ahead: int) -> None:
        self._shape = shape
        self._num_bytes = batch_size * math.prod(shape)
        self._places = ahead + 1
        self._memory = RawArray(ctypes.c_uint8, workers * self._places * self._num_bytes)
        self._num_filled = 0  # by this worker

    @classmethod
    def open(cls, shape: tuple[int, int, int], batch_size: int, workers: int, ahead: int) -> Handover | None:
        """Take shared memory; None if there is no room: who writes into what a full disk lacks, is killed."""
        needed = workers * (ahead + 1) * batch_size * math.prod(shape)
        folders = [folder for folder in (_SHARED_MEMORY, Path(get_temp_dir())) if folder.is_dir()]
        has_room = any(shutil.disk_usage(folder).free > needed for folder in folders)
        return cls(shape, batch_size, workers, ahead) if has_room else None

    def put(self, images: Sequence[Tensor]) -> Place | None:
        """Stack images in the next place of this worker; None if they do not fit there."""
        worker = get_worker_info()
        too_many = len(images) * math.prod(self._shape) > self._num_bytes
        if worker is None or not images or too_many or any(image.shape != self._shape for image in images):
            return None
        place = Place(worker.id * self._places + self._num_filled % self._places, len(images))
        self._num_filled += 1
        torch.stack([image.permute(1, 2, 0) for image in images], out=self._at(place))
        return place

    def take(self, place: Place) -> Tensor:
        """Copy the images of a place, `uint8 (B, C, H, W)`, channels last in memory."""
        return self._at(place).clone().permute(0, 3, 1, 2)

    def _at(self, place: Place) -> Tensor:
        channels, height, width = self._shape
        shape = (place.num_images, height, width, channels)
        start = place.number * self._num_bytes
        flat = torch.frombuffer(self._memory, dtype=torch.uint8, count=math.prod(shape), offset=start)
        return flat.view(shape)
