"""CIFAR-10 and CIFAR-100 from their binary version: the Python one is pickled, and could run code."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from array import array
from dataclasses import dataclass
from pathlib import Path

import torch

from clscli.data.datasets.pixels import Pixels
from clscli.data.datasets.published import TRAIN_TEST, TrainTest, fetch, folder_of, part_of
from clscli.errors import DataError
from clscli.files import atomic_write

_PIXELS = 3 * 32 * 32  # a plane each of red, green and blue


@dataclass(frozen=True)
class _Version:
    """One of the two sets, as https://www.cs.toronto.edu/~kriz/cifar.html describes it."""

    name: str
    archive: str
    md5: str
    folder: str
    files: dict[str, tuple[str, ...]]
    class_names: str
    num_labels: int  # bytes before the pixels; the last one is the class
    pickled: tuple[str, ...]  # what the Python version is called, as an archive and unpacked

    @property
    def members(self) -> list[str]:
        return [*self.files["train"], *self.files["test"], self.class_names]


_CIFAR10 = _Version(
    "cifar10",
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-batches-bin",
    {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    "batches.meta.txt",
    1,
    ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
)
_CIFAR100 = _Version(
    "cifar100",
    "cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
    "cifar-100-binary",
    {"train": ("train.bin",), "test": ("test.bin",)},
    "fine_label_names.txt",
    2,
    ("cifar-100-python.tar.gz", "cifar-100-python"),
)


def cifar10(
    split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True
) -> Pixels:
    """Open CIFAR-10: 50,000 and 10,000 pictures of 32x32 in 10 classes.

    `root` holds cifar-10-binary.tar.gz or what it unpacks to; without it, the cache. `part` reads another
    part than that of the split it stands for.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    return _open(_CIFAR10, split, part, root, download)


def cifar100(
    split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True
) -> Pixels:
    """Open CIFAR-100: 50,000 and 10,000 pictures of 32x32 in 100 classes, the fine ones.

    `root` holds cifar-100-binary.tar.gz or what it unpacks to; without it, the cache. `part` reads another
    part than that of the split it stands for.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    return _open(_CIFAR100, split, part, root, download)


def _open(version: _Version, split: str, part: str | None, root: Path | None, download: bool) -> Pixels:
    chosen = part_of(version.name, split, part, TRAIN_TEST)
    folder = folder_of(version.name, root)
    files = f"{version.archive}, or the folder {version.folder} that it unpacks to{_unlike(version, folder)}"
    place = fetch(version.name, folder, files, download, lambda allowed: _find(version, folder, allowed))
    return _read(version, place, chosen)


def _find(version: _Version, folder: Path, download: bool) -> Path:
    """Return the folder of the `.bin` files, unpacked or downloaded if need be."""
    unpacked = folder / version.folder
    for place in (folder, unpacked):
        if all((place / name).is_file() for name in version.members):
            return place
    archive = folder / version.archive
    if download and not archive.is_file():
        from torchvision.datasets.utils import download_url

        download_url(f"https://www.cs.toronto.edu/~kriz/{version.archive}", folder, version.archive, version.md5)
    if not archive.is_file():
        raise FileNotFoundError(f"no {version.archive}")
    _unpack(version, archive, unpacked)
    return unpacked


def _unlike(version: _Version, folder: Path) -> str:
    """Say that the Python version, which many have, is not what is needed."""
    found = next((name for name in version.pickled if (folder / name).exists() or folder.name == name), None)
    return f", and not the pickled version {found}" if found else ""


def _unpack(version: _Version, archive: Path, target: Path) -> None:
    """Unpack the files that are needed, each of them whole or not at all, from an archive whose MD5 is right."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != version.md5:
        raise DataError(f"{archive}: is damaged: its MD5 is {found}, not {version.md5} -- remove it")
    target.mkdir(exist_ok=True)
    with tarfile.open(archive) as tar:
        for name in version.members:
            member = tar.extractfile(f"{version.folder}/{name}")
            assert member is not None, name
            with atomic_write(target / name) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(member, file)


def _read(version: _Version, folder: Path, part: str) -> Pixels:
    text = (folder / version.class_names).read_text(encoding="utf-8")
    classes = [name for line in text.splitlines() if (name := line.strip())]
    size = version.num_labels + _PIXELS
    block = bytearray()
    for name in version.files[part]:
        data = (folder / name).read_bytes()
        if not data or len(data) % size:
            raise DataError(f"{folder / name}: is cut short: {len(data)} bytes are no multiple of {size}")
        block += data
    records = torch.frombuffer(block, dtype=torch.uint8).view(-1, size)
    targets = array("q", records[:, version.num_labels - 1].tolist())
    if max(targets) >= len(classes):
        raise DataError(f"{folder}: has a label {max(targets)}, but {version.class_names} {len(classes)} names")
    images = records[:, version.num_labels :].contiguous().view(-1, 3, 32, 32)
    return Pixels(images, targets, classes)
