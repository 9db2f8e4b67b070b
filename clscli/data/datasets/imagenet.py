"""ImageNet as it is unpacked by hand, in both layouts of its validation pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from clscli.data.datasets.filelist import filelist
from clscli.data.datasets.files import Files
from clscli.data.datasets.folder import Folder
from clscli.data.datasets.published import has_val, part_of
from clscli.errors import DataError

# Where the list lies in the layouts that are around; the second is mmpretrain's.
_LISTS = ("val.txt", "meta/val.txt")


@has_val
def imagenet(
    split: str, *, root: Path, val_list: Path | None = None, part: Literal["train", "val"] | None = None
) -> Folder | Files:
    """Read ImageNet: `root/train/<wnid>/*.JPEG`, and `root/val` with class folders or a list val.txt.

    A line of the list is `name index`, the index being the place of the class among the sorted WordNet ids.
    The list is looked for as val.txt and meta/val.txt below `root`, unless `val_list` says where it is. `part`
    reads another part than that of the split it stands for. Without `data.val` the validation pictures are
    used for it; with `part = "train"` as well, some of the training pictures are set aside.

    Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015.
    """
    chosen = part_of("imagenet", split, part, {"train": "train", "val": "val"})
    pictures = root / chosen
    if chosen == "train":
        return Folder(split, root=pictures)
    if not pictures.is_dir():
        advice = 'to set training pictures aside instead, leave data.val out and write data.train.part = "train"'
        raise DataError(f"{pictures}: no such folder -- {advice}")
    if val_list is None and any(entry.is_dir() for entry in pictures.iterdir()):
        return Folder(split, root=pictures)
    lists = [root / name for name in _LISTS] if val_list is None else [val_list]
    path = next((path for path in lists if path.is_file()), None)
    if path is None:
        there = " and ".join(str(path) for path in lists)
        raise DataError(
            f"{pictures}: no class folders in it, and no list of labels: there is no {there} -- say where it is: "
            'val_list = "..."'
        )
    return filelist(split, path=str(path), root=str(pictures), format="text", classes=_wnids(root / "train"))


def _wnids(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, but its class folders name the classes of the validation list")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
