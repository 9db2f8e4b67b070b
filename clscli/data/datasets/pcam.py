"""PatchCamelyon, in HDF5 files: too many pixels for memory, so each picture is read when it is asked for."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clscli.data.datasets.published import (
    TRAIN_VAL_TEST,
    TrainValTest,
    folder_of,
    has_val,
    part_of,
    torchvision_set,
)
from clscli.data.decode import UnreadableImageError
from clscli.data.samples import Sample
from clscli.errors import DataError, describe

_SIDE = 96


@has_val
def pcam(
    split: str, *, part: TrainValTest | None = None, root: Path | None = None, download: bool = True
) -> Patches:
    """Open PatchCamelyon: 262,144, 32,768 and 32,768 patches of lymph nodes, with a tumor or without, of 96x96.

    Needs h5py, and gdown to download it. `root` holds the folder pcam; without it, the cache. `part` reads
    another part than that of the split it stands for.

    Veeling et al., "Rotation Equivariant CNNs for Digital Pathology", 2018.
    """
    chosen = part_of("pcam", split, part, TRAIN_VAL_TEST)
    stem = f"pcam/camelyonpatch_level_2_split_{'valid' if chosen == 'val' else chosen}"
    folder, files = folder_of("pcam", root), [f"{stem}_x.h5", f"{stem}_y.h5"]
    torchvision_set("pcam", "PCAM", folder, " and ".join(files), download, split=chosen)
    return Patches(*(folder / file for file in files))


class Patches:
    """Hold the labels of all patches, and read pixels from their file when asked to.

    Raises DataError for files that are damaged or do not fit each other.
    """

    def __init__(self, images: Path, labels: Path) -> None:
        self.path = str(images)
        self.classes = ["normal", "tumor"]
        self.targets = _read_targets(labels)
        with _open(images, "x") as pixels:
            expected, found = (len(self), _SIDE, _SIDE, 3), f"{pixels.dtype} {pixels.shape}"
        if found != f"uint8 {expected}":
            raise DataError(f"{images}: must have uint8 {expected}, as there are so many labels, not {found}")

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Sample:
        try:
            pixels = _kept(self.path, "x", os.getpid())[index]
        except (OSError, KeyError) as error:  # of a damaged file
            raise UnreadableImageError(f"{self.path} cannot be read: {describe(error)}") from None
        return Sample(torch.from_numpy(pixels).permute(2, 0, 1), self.targets[index])


def _read_targets(path: Path) -> array[int]:
    with _open(path, "y") as labels:
        values = np.asarray(labels).ravel()
    if not values.size or not np.isin(values, (0, 1)).all():
        raise DataError(f"{path}: must have labels, each 0 or 1")
    return array("q", values.astype(np.int64).tobytes())


@contextmanager
def _open(path: Path, key: str) -> Iterator[Any]:
    """Open what a file has under a key. Raises DataError when there is no such thing."""
    try:
        found = _found(str(path), key)
    except (OSError, KeyError) as error:
        raise DataError(f"{path}: has no {key!r}, or is damaged: {describe(error)}") from None
    with found.file:
        yield found


def _found(path: str, key: str) -> Any:
    import h5py

    # Without locks, as it may lie on a read-only disk.
    return h5py.File(path, "r", locking=False)[key]


@lru_cache(maxsize=8)
def _kept(path: str, key: str, process: int) -> Any:
    """Open a file once in every process: a forked one does not use what its parent has opened."""
    return _found(path, key)
