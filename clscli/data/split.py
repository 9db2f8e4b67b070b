"""Views of a data set: some of its samples, with targets that follow the model's classes."""

from __future__ import annotations

import csv
import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from clscli.data.samples import Dataset, Sample, targets_of
from clscli.errors import DataError
from clscli.seeds import seed_for

Manifest = dict[str, str]  # a sample's key -> "train" or "val"

_UNKNOWN = -1  # the target of a class that the model does not have; no view keeps it


class View:
    """Show some samples of a data set, with each target translated into an index of `classes`."""

    def __init__(self, dataset: Dataset, indices: Iterable[int], classes: list[str]) -> None:
        positions = {name: i for i, name in enumerate(classes)}
        self.dataset = dataset
        self.classes = classes
        self._translate = [positions.get(name, _UNKNOWN) for name in dataset.classes]
        self._indices = array("q", indices)
        own = targets_of(dataset)
        self.targets = array("q", (self._translate[own[i]] for i in self._indices))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.dataset[self._indices[index]].source, self.targets[index])

    def key(self, index: int) -> str:
        """Name a sample independently of where the data set lies."""
        return sample_key(self.dataset, self._indices[index])

    def fingerprint(self) -> str:
        """Return a short text that changes with the samples' names, classes and order."""
        digest = hashlib.blake2b(digest_size=16)
        for index, target in enumerate(self.targets):
            digest.update(f"{self.key(index)}/{self.classes[target]}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def without(self, bad: set[int]) -> View:
        """Return the view less some of its samples, by index."""
        return View(self.dataset, (n for i, n in enumerate(self._indices) if i not in bad), self.classes)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of samples of every class."""
        counts = [0] * len(self.classes)
        for target in self.targets:
            counts[target] += 1
        return tuple(counts)


def sample_key(dataset: Dataset, index: int) -> str:
    """Name a sample by its path below the data set's root; by its number when it is not a file."""
    source = dataset[index].source
    if not isinstance(source, str | Path):
        return f"#{index}"
    root = getattr(dataset, "root", None)
    return Path(os.path.relpath(source, root) if root is not None else source).as_posix()


def whole(dataset: Dataset, classes: list[str], where: str) -> View:
    """View all of a data set; every class in it must be one of `classes`.

    Raises DataError naming the classes that the training split does not have.
    """
    unknown = [name for name in dataset.classes if name not in set(classes)]
    if unknown:
        raise _unknown_classes(unknown, classes, where)
    return View(dataset, range(len(dataset)), classes)


def _unknown_classes(unknown: list[str], classes: list[str], where: str) -> DataError:
    names = ", ".join(repr(name) for name in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
    known = ", ".join(repr(name) for name in classes[:5]) + (", ..." if len(classes) > 5 else "")
    return DataError(f"{where}: has classes that the model does not know: {names} (it knows {known})")


def stratified_split(dataset: Dataset, fraction: float, seed: int) -> Manifest:
    """Divide a data set into train and val, every class by the same fraction.

    Whether a sample goes to val depends on the seed and its own key, not on its neighbours' order, and every
    class of two or more samples has at least one on each side.
    """
    targets = targets_of(dataset)
    members: list[list[str]] = [[] for _ in dataset.classes]
    for index in range(len(dataset)):
        members[targets[index]].append(sample_key(dataset, index))
    manifest: Manifest = {}
    for keys in members:
        keys.sort(key=lambda key: seed_for(seed, "split", key))
        num_val = min(max(1, round(len(keys) * fraction)), len(keys) - 1)
        manifest.update({key: "val" if i < num_val else "train" for i, key in enumerate(keys)})
    return manifest


def part(dataset: Dataset, manifest: Manifest, split: str, classes: list[str]) -> View:
    """View the samples that a manifest puts into a split; samples that it does not know are left out.

    Raises DataError naming the classes of chosen samples that are not among `classes`.
    """
    chosen = [i for i in range(len(dataset)) if manifest.get(sample_key(dataset, i)) == split]
    view = View(dataset, chosen, classes)
    if _UNKNOWN in view.targets:
        own = targets_of(dataset)
        unknown = {dataset.classes[own[i]] for i in chosen} - set(classes)
        raise _unknown_classes(sorted(unknown), classes, f"the split '{split}'")
    return view


def write_manifest(path: Path, dataset: Dataset, manifest: Manifest) -> None:
    """Save a division as CSV: path, class, split."""
    targets: Sequence[int] = targets_of(dataset)
    with path.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "class", "split"))
        for index in range(len(dataset)):
            key = sample_key(dataset, index)
            writer.writerow((key, dataset.classes[targets[index]], manifest[key]))


def read_manifest(path: Path) -> Manifest:
    """Read a saved division. Raises DataError when the file is not one."""
    try:
        with path.open(encoding="utf-8", newline="", errors="surrogateescape") as file:
            manifest = {row["path"]: row["split"] for row in csv.DictReader(file)}
    except (KeyError, csv.Error):
        manifest = {}
    if not manifest or not set(manifest.values()) <= {"train", "val"}:
        raise DataError(f"{path}: is not a split of clscli's -- expected the columns path, class, split")
    return manifest
