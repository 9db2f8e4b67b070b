"""Which folder below a root is which split."""

from __future__ import annotations

from pathlib import Path

from clscli.data.datasets.folder import list_folder
from clscli.data.remote import join
from clscli.locations import is_url

Root = Path | str  # a str is a URL

# The names people give these folders, the first ones preferred.
SPLIT_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def find_splits(root: Root) -> dict[str, Root]:
    """Find the split folders of a root; empty when the root is one tree of class folders.

    A folder called `train` that holds pictures but no folders is a class (of vehicles, say), not a split.
    """
    found: dict[str, Root] = {}
    # Of `Train` and `train` side by side, the last in this order is taken: the one in lower case.
    folders = {name.lower(): _below(root, name) for name in sorted(_folders_in(root))}
    for split, names in SPLIT_FOLDERS.items():
        match = next((folders[n] for n in names if n in folders and _may_be_split(folders[n])), None)
        if match is not None:
            found[split] = match
    return found


def other_folders(root: Root, splits: dict[str, Root]) -> list[str]:
    """Name the folders beside the split folders, which are not read."""
    used = set(splits.values())
    return sorted(n for n in _folders_in(root) if _below(root, n) not in used and n[0] != ".")


def as_root(root: str) -> Root:
    """Make a path of what is no URL."""
    return root if is_url(root) else Path(root)


def _below(root: Root, name: str) -> Root:
    return root / name if isinstance(root, Path) else join(root, name)


def _folders_in(root: Root) -> list[str]:
    if isinstance(root, Path) and not root.is_dir():
        return []
    return [name for name, is_folder in list_folder(str(root)) if is_folder]


def _may_be_split(folder: Root) -> bool:
    is_empty = True
    for name, is_folder in list_folder(str(folder)):  # perhaps millions: not kept
        if is_folder and not name.startswith("."):
            return True
        is_empty = is_empty and name.startswith(".")
    return is_empty
