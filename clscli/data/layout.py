"""Which folder below a root is which split."""

from __future__ import annotations

from pathlib import Path

# The names people give these folders, the first ones preferred.
SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def find_splits(root: Path) -> dict[str, Path]:
    """Find the split folders of a root; empty when the root is one tree of class folders.

    A folder called `train` that holds pictures but no folders is a class (of vehicles, say), not a split.
    """
    found = {}
    # Of `Train` and `train` side by side, the last in this order is taken: the one in lower case.
    folders = {e.name.lower(): e for e in sorted(root.iterdir()) if e.is_dir()} if root.is_dir() else {}
    for split, names in SPLIT_FOLDERS.items():
        match = next((folders[n] for n in names if n in folders and _may_be_split(folders[n])), None)
        if match is not None:
            found[split] = match
    return found


def other_folders(root: Path, splits: dict[str, Path]) -> list[str]:
    """Name the folders beside the split folders, which are not read."""
    used = set(splits.values())
    return sorted(e.name for e in root.iterdir() if e.is_dir() and e not in used and e.name[0] != ".")


def _may_be_split(folder: Path) -> bool:
    entries = [e for e in folder.iterdir() if not e.name.startswith(".")]
    return not entries or any(e.is_dir() for e in entries)
