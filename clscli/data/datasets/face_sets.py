"""Published sets of faces: who it is, what it looks like, what it feels.

`root` of each is the folder that torchvision calls so. `part` reads another part of the set than that of the
split it stands for.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from clscli.data.datasets.files import Files
from clscli.data.datasets.folder import Folder
from clscli.data.datasets.labels import class_names, positions_of
from clscli.data.datasets.pixels import Pixels
from clscli.data.datasets.published import (
    TRAIN_TEST,
    folder_of,
    has_val,
    numbered,
    part_of,
    refuse_missing,
    torchvision_files,
)
from clscli.data.packed import PackedStrings
from clscli.data.samples import LabelSets
from clscli.errors import DataError

_FER2013 = "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge"
_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_SIDE = 48  # of a picture of FER2013
# What its column Usage says of a picture, by the parts that have it.
_USAGE = {
    "train": ("Training",),
    "test": ("PublicTest", "PrivateTest"),
    "public_test": ("PublicTest",),
    "private_test": ("PrivateTest",),
}


def fer2013(
    split: str, *, root: Path, part: Literal["train", "test", "public_test", "private_test"] | None = None
) -> Pixels:
    """Open FER2013: 28,709 and 7,178 faces of seven emotions, grey, of 48x48.

    `root` holds fer2013/fer2013.csv or fer2013/icml_face_data.csv, or for training fer2013/train.csv, from
    Kaggle. Goodfellow et al., "Challenges in Representation Learning: A report on three machine learning
    contests", 2013.
    """
    chosen = part_of("fer2013", split, part, TRAIN_TEST)
    files = ["fer2013/fer2013.csv", "fer2013/icml_face_data.csv"]
    if chosen == "train":
        files.append("fer2013/train.csv")  # Kaggle's test.csv, which goes with it, has no labels
    file = next((file for file in files if (root / file).is_file()), None)
    if file is None:
        raise DataError(
            f"fer2013 is not in {root}: no {files[0]} -- get it by hand from {_FER2013}; "
            f"{root} must hold {' or '.join(files)}"
        )
    return _read_fer2013(root / file, _USAGE[chosen])


def _read_fer2013(path: Path, usage: tuple[str, ...]) -> Pixels:
    block, targets = bytearray(), array("q")
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        for row in reader:
            if row.get("Usage", "Training") not in usage:
                continue
            try:
                pixels, target = bytes(map(int, row["pixels"].split())), int(row["emotion"])
            except (KeyError, ValueError, AttributeError):  # no such column, no such number, too few columns
                pixels, target = b"", -1
            if len(pixels) != _SIDE**2 or not 0 <= target < len(_EMOTIONS):
                raise DataError(
                    f"{path}: line {reader.line_num}: must have an emotion from 0 to 6 and {_SIDE**2} pixels "
                    "from 0 to 255"
                )
            block += pixels
            targets.append(target)
    if not targets:
        raise DataError(f"{path}: has no pictures of the usage {' or '.join(usage)}")
    return Pixels(torch.frombuffer(block, dtype=torch.uint8).view(-1, 1, _SIDE, _SIDE), targets, _EMOTIONS)


def lfw_people(
    split: str,
    *,
    root: Path,
    variant: Literal["original", "funneled", "deepfunneled"] = "funneled",
    part: Literal["10fold", "train", "test"] | None = None,
) -> Folder | Files:
    """Open Labeled Faces in the Wild: 13,233 photos of 5,749 people; one part, for training.

    The parts "train" and "test" have different people, of the lists peopleDevTrain.txt and peopleDevTest.txt.
    `root` holds lfw-py, with the lists and the folder lfw_funneled in it, or that of another variant; no server
    offers them to programs any more.

    Huang et al., "Labeled Faces in the Wild: A Database for Studying Face Recognition in Unconstrained
    Environments", 2007.
    """
    chosen = part_of("lfw_people", split, part, {"train": "10fold"})
    pictures = {"original": "lfw", "funneled": "lfw_funneled", "deepfunneled": "lfw-deepfunneled"}[variant]
    folder, files = root / "lfw-py" / pictures, [f"lfw-py/{pictures}"]
    if chosen != "10fold":
        files.append(f"lfw-py/peopleDev{chosen.title()}.txt")
    refuse_missing("lfw_people", root, files, "https://www.kaggle.com/datasets/jessicali9530/lfw-dataset")
    if chosen == "10fold":  # which has all people in it
        return Folder(split, root=folder)
    counts = dict(numbered(root / files[1], counts=True))
    classes = class_names(counts)
    positions = positions_of(classes)
    targets = array("q", (positions[name] for name, count in counts.items() for _ in range(count)))
    names = (f"{name}/{name}_{i:04d}.jpg" for name, count in counts.items() for i in range(1, count + 1))
    return Files(str(folder), names, targets, classes)


@has_val
def celeba(
    split: str,
    *,
    part: Literal["train", "valid", "test", "all"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Files:
    """Open CelebA: 162,770, 19,867 and 19,962 photos of faces, each with several of 40 attributes.

    To download it needs gdown. Liu et al., "Deep Learning Face Attributes in the Wild", 2015.
    """
    chosen = part_of("celeba", split, part, {"train": "train", "val": "valid", "test": "test"})
    folder = folder_of("celeba", root)
    files = [f"celeba/{name}" for name in ("list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba")]
    torchvision_files("celeba", "CelebA", folder, files, download, split=chosen)
    attributes, parts, pictures = (folder / file for file in files)
    number = {"train": 0, "valid": 1, "test": 2}.get(chosen)
    wanted = {name for name, own in numbered(parts) if number in (own, None)}
    with attributes.open(encoding="utf-8", errors="surrogateescape") as file:
        classes = [name for line in islice(file, 1, 2) for name in line.split()]  # below the number of pictures
    labels: list[list[int]] = []
    names = PackedStrings(_with_attributes(attributes, len(classes), wanted, labels))
    if wanted:
        raise DataError(f"{attributes}: has no line of {min(wanted)}, which {parts.name} names")
    return Files(str(pictures), names, LabelSets(labels), classes)


def _with_attributes(path: Path, num_classes: int, wanted: set[str], labels: list[list[int]]) -> Iterator[str]:
    """Yield each wanted picture's name once its labels are noted; it is wanted no more then."""
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line_number, line in enumerate(islice(file, 2, None), 3):
            name, *values = line.split() or [""]
            if name not in wanted:
                continue
            if len(values) != num_classes or not {"1", "-1"}.issuperset(values):
                raise DataError(
                    f"{path}: line {line_number}: must have 1 or -1 for each of {num_classes} attributes"
                )
            wanted.remove(name)
            labels.append([index for index, value in enumerate(values) if value == "1"])
            yield name
