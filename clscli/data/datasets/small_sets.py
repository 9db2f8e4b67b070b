"""Published sets of small pictures, as torchvision knows them: read into memory as one block.

`root` of each is the folder that torchvision calls so; without it, the cache. `part` reads another part of
the set than that of the split it stands for.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from clscli.data.datasets.pixels import Pixels
from clscli.data.datasets.published import TRAIN_TEST, TrainTest, folder_of, part_of, torchvision_set

_DIGITS = tuple("0123456789")


def mnist(split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True) -> Pixels:
    """Open MNIST: 60,000 and 10,000 handwritten digits, grey, of 28x28.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    return _mnist_like("mnist", "MNIST", split, part, root, download, _DIGITS)


def fashion_mnist(
    split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True
) -> Pixels:
    """Open Fashion-MNIST: 60,000 and 10,000 articles of clothing in 10 classes, grey, of 28x28.

    Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017.
    """
    return _mnist_like("fashion_mnist", "FashionMNIST", split, part, root, download)


def kmnist(
    split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True
) -> Pixels:
    """Open Kuzushiji-MNIST: 60,000 and 10,000 cursive Japanese characters in 10 classes, grey, of 28x28.

    Clanuwat et al., "Deep Learning for Classical Japanese Literature", 2018.
    """
    return _mnist_like("kmnist", "KMNIST", split, part, root, download)


def qmnist(
    split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True
) -> Pixels:
    """Open QMNIST: MNIST made anew, with all 60,000 test digits.

    Yadav and Bottou, "Cold Case: The Lost MNIST Digits", 2019.
    """
    chosen = part_of("qmnist", split, part, TRAIN_TEST)
    folder = folder_of("qmnist", root)
    found = torchvision_set("qmnist", "QMNIST", folder, "QMNIST/raw/qmnist-*", download, what=chosen)
    return Pixels(found.data.unsqueeze(1), _integers(found.targets[:, 0]), _DIGITS)


def emnist(
    split: str,
    *,
    variant: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] = "balanced",
    part: TrainTest | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Pixels:
    """Open EMNIST: handwritten letters and digits, grey, of 28x28; 131,600 in 47 classes when balanced.

    Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", 2017.
    """
    train = part_of("emnist", split, part, TRAIN_TEST) == "train"
    folder, files = folder_of("emnist", root), f"EMNIST/raw/emnist-{variant}-*-ubyte"
    found = torchvision_set("emnist", "EMNIST", folder, files, download, split=variant, train=train)
    # The files hold each picture mirrored along its diagonal; torchvision leaves it to its users to undo that.
    images = found.data.transpose(1, 2).contiguous().unsqueeze(1)
    first = found.classes.index("a") if variant == "letters" else 0  # they count from 1, 0 being "N/A"
    return Pixels(images, _integers(found.targets - first), found.classes[first:])


def svhn(
    split: str,
    *,
    part: Literal["train", "test", "extra"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Pixels:
    """Open SVHN: 73,257 and 26,032 digits of house numbers in colour, of 32x32, and 531,131 extra ones.

    Needs scipy. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011.
    """
    chosen = part_of("svhn", split, part, TRAIN_TEST)
    found = torchvision_set("svhn", "SVHN", folder_of("svhn", root), f"{chosen}_32x32.mat", download, split=chosen)
    return Pixels(torch.from_numpy(found.data).contiguous(), _integers(found.labels), _DIGITS)


def stl10(split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True) -> Pixels:
    """Open STL-10: 5,000 and 8,000 pictures in 10 classes, of 96x96.

    Coates et al., "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", 2011.
    """
    chosen = part_of("stl10", split, part, TRAIN_TEST)
    found = torchvision_set(
        "stl10", "STL10", folder_of("stl10", root), "stl10_binary/*.bin", download, split=chosen
    )
    return Pixels(torch.from_numpy(found.data).contiguous(), _integers(found.labels), found.classes)


def usps(split: str, *, part: TrainTest | None = None, root: Path | None = None, download: bool = True) -> Pixels:
    """Open USPS: 7,291 and 2,007 digits from envelopes, grey, of 16x16.

    Hull, "A Database for Handwritten Text Recognition Research", 1994.
    """
    chosen = part_of("usps", split, part, TRAIN_TEST)
    file = {"train": "usps.bz2", "test": "usps.t.bz2"}[chosen]
    found = torchvision_set("usps", "USPS", folder_of("usps", root), file, download, train=chosen == "train")
    return Pixels(torch.from_numpy(found.data).unsqueeze(1), _integers(found.targets), _DIGITS)


def semeion(split: str, *, root: Path | None = None, download: bool = True) -> Pixels:
    """Open Semeion: 1,593 handwritten digits in black and white, of 16x16; one part, for training.

    Buscema, "MetaNet: The Theory of Independent Judges", 1998.
    """
    part_of("semeion", split, None, {"train": "train"})
    found = torchvision_set("semeion", "SEMEION", folder_of("semeion", root), "semeion.data", download)
    return Pixels(torch.from_numpy(found.data).unsqueeze(1), _integers(found.labels), _DIGITS)


def _mnist_like(
    name: str,
    class_name: str,
    split: str,
    part: str | None,
    root: Path | None,
    download: bool,
    classes: Sequence[str] | None = None,
) -> Pixels:
    train = part_of(name, split, part, TRAIN_TEST) == "train"
    files = f"{class_name}/raw/train-images-idx3-ubyte and the other three"
    found = torchvision_set(name, class_name, folder_of(name, root), files, download, train=train)
    return Pixels(found.data.unsqueeze(1), _integers(found.targets), classes or found.classes)


def _integers(targets: npt.ArrayLike) -> array[int]:
    return array("q", np.asarray(targets, np.int64).tobytes())
