"""Published sets of millions of photos: lists and folders are read in our own way, downloads are torchvision's.

`root` of each is the folder that torchvision calls so; without it, the cache. `part` reads another part of
the set than that of the split it stands for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from clscli.data.datasets.files import Files
from clscli.data.datasets.folder import Folder
from clscli.data.datasets.labels import positions_of
from clscli.data.datasets.published import folder_of, has_val, numbered, part_of, torchvision_files
from clscli.data.packed import PackedStrings
from clscli.data.samples import Sample
from clscli.errors import DataError

_SCENES = "categories_places365.txt"
# The parts of a class folder's name in the set of 2021, after its number.
_RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


@has_val
def places365(
    split: str,
    *,
    size: Literal["large", "256px"] = "large",
    part: Literal["train-standard", "train-challenge", "val", "test"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Files:
    """Open Places365: 1,803,460 and 36,500 photos of 365 scenes, and 328,500 for test without labels.

    The large photos for training are 105 GB to download, those of 256 x 256 pixels 24 GB. Zhou et al.,
    "Places: A 10 million Image Database for Scene Recognition", 2017.
    """
    chosen = part_of("places365", split, part, {"train": "train-standard", "val": "val", "test": "test"})
    folder, width = folder_of("places365", root), size.removesuffix("px")
    kind, _, variant = chosen.partition("-")
    pictures = f"data_{width}_{variant}" if variant else f"{kind}_{width}"
    files = [_SCENES, f"places365_{chosen.replace('-', '_')}.txt", pictures]
    small = size == "256px"
    torchvision_files("places365", "Places365", folder, files, download, split=chosen, small=small)
    if chosen == "test":
        lines = (folder / files[1]).read_text(encoding="utf-8").splitlines()
        return Files(str(folder / pictures), lines, None, [])
    return _scenes(folder / _SCENES, folder / files[1], folder / pictures)


def _scenes(categories: Path, photos: Path, root: Path) -> Files:
    # "/a/airfield 0": what goes before the name is its first letter.
    by_number = {number: name[3:] for name, number in numbered(categories)}
    classes = [by_number[number] for number in sorted(by_number)]
    if set(by_number) != set(range(len(classes))):
        raise DataError(f"{categories}: must number the classes from 0 on, without gaps")
    targets = array("q")
    names = PackedStrings(_noted(photos, targets))
    if names and max(targets) >= len(classes):
        raise DataError(f"{photos}: has a label {max(targets)}, but {_SCENES} {len(classes)} names")
    return Files(str(root), names, targets, classes)


def _noted(photos: Path, targets: array[int]) -> Iterator[str]:
    """Yield each photo's name once its label is noted."""
    for name, target in numbered(photos):
        targets.append(target)
        yield name.removeprefix("/")  # of those for training, which would be paths from the disk's root


@has_val
def inaturalist(
    split: str,
    *,
    level: Literal["full", "super", "kingdom", "phylum", "class", "order", "family", "genus"] = "full",
    part: Literal["2021_train", "2021_train_mini", "2021_valid", "2017", "2018", "2019"] | None = None,
    root: Path | None = None,
    download: bool = True,
) -> Folder | Grouped:
    """Open iNaturalist 2021: 2,686,843 and 100,000 photos of 10,000 species; older years as `part`.

    The photos for training are 224 GB to download, those of "2021_train_mini" 42 GB. The `level` "super", as
    Amphibians, is for 2017 to 2019, and the ranks are for 2021. Van Horn et al., "Benchmarking
    Representation Learning for Natural World Image Collections", 2021.
    """
    chosen = part_of("inaturalist", split, part, {"train": "2021_train", "val": "2021_valid"})
    levels = ("full", *_RANKS[:-1]) if chosen.startswith("2021") else ("full", "super")
    if level not in levels:
        raise ValueError(f"inaturalist has no level '{level}' in {chosen} -- there are: {', '.join(levels)}")
    folder = folder_of("inaturalist", root)
    torchvision_files("inaturalist", "INaturalist", folder, [chosen], download, version=chosen)
    found = Folder(split, root=folder / chosen)
    if level == "full":
        return found
    return Grouped(found, [_group(found, name, level) for name in found.classes])


def _group(folder: Folder, name: str, level: str) -> str:
    """Name the group that a class folder belongs to, by its own name or by the folder that it is in."""
    if level == "super":
        return name.partition("/")[0]
    _, *ranks = name.split("_")
    if len(ranks) != len(_RANKS):
        raise DataError(f"{folder.root}: the folder {name!r} must be named 00000_{'_'.join(_RANKS)}")
    return ranks[_RANKS.index(level)]


class Grouped:
    """Show the pictures of class folders in fewer classes: `groups` names that of each of the folders'."""

    def __init__(self, folder: Folder, groups: list[str]) -> None:
        self.classes = sorted(set(groups))
        positions = positions_of(self.classes)
        self._folder = folder
        self._group_of = [positions[group] for group in groups]

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, index: int) -> Sample:
        source, target = self._folder[index]
        assert isinstance(target, int), target
        return Sample(source, self._group_of[target])

    def name(self, index: int) -> str:
        """Name a picture by its path below the root."""
        return self._folder.name(index)

    @property
    def targets(self) -> array[int]:
        """The group of every picture; made anew each time, as nobody needs them for long."""
        return array("q", np.array(self._group_of, np.int64)[self._folder.targets].tobytes())
