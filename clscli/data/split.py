"""Views of a data set: some of its samples, with targets that follow the model's classes.

What there is of each sample is held in arrays: a data set may have ten million.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clscli.data.decode import Source, UnreadableImageError
from clscli.data.samples import Dataset, LabelSets, Sample, has_label_sets, label_sets_of, targets_of
from clscli.errors import DataError
from clscli.seeds import seed_for

# The parts of a division: `int8 (N,)`, for each sample an index into this, or -1 where it is in no part.
PARTS = ("train", "val")
NO_PART = -1

_UNKNOWN = -1  # the target of a class that the model does not have; no view keeps it
_CHUNK = 1 << 16  # samples whose numbers are Python's at one time


class View:
    """Show some samples of a data set, with each target translated into an index of `classes`.

    `targets` is `int64 (N,)`, or `LabelSets` if the view is `multi_label`. `sizes` is `int32 (N, 2)`: height and
    width of every picture, upright, and zeros where nobody has looked; None before somebody has.
    """

    def __init__(
        self, dataset: Dataset, indices: Iterable[int] | Tensor, classes: list[str], sizes: Tensor | None = None
    ) -> None:
        if not isinstance(indices, Tensor):
            indices = torch.from_numpy(np.fromiter(indices, np.int64))
        positions = {name: i for i, name in enumerate(classes)}
        translate = torch.tensor([positions.get(name, _UNKNOWN) for name in dataset.classes])
        self.dataset = dataset
        self.classes = classes
        self.sizes = sizes
        self.multi_label = has_label_sets(dataset)
        self.targets: Tensor | LabelSets
        if self.multi_label:
            self.targets = label_sets_of(dataset).of(indices.numpy(), translate.int().numpy())
        else:
            self.targets = translate[_targets(dataset)[indices]]
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        target = self.targets[index]
        return Sample(self.source(index), target if isinstance(target, tuple) else int(target))

    def source(self, index: int) -> Source:
        """Return what a sample's picture is read from."""
        return self.dataset[int(self._indices[index])].source

    def labels(self, index: int) -> list[str]:
        """Name the classes of a sample: one, or with several labels any number of them."""
        target = self.targets[index]
        return [self.classes[i] for i in (target if isinstance(target, tuple) else [int(target)])]

    def target(self, index: int) -> Tensor:
        """Return the target of a sample as batches have it: `int64 ()`, or of several labels `float32 (K,)`."""
        target = self.targets[index]
        if isinstance(target, Tensor):
            return target
        dense = torch.zeros(len(self.classes))
        dense[list(target)] = 1
        return dense

    def name(self, index: int) -> str:
        """Name a picture as a user finds it: by its path, if it has one."""
        number = int(self._indices[index])
        try:
            source = self.dataset[number].source
        except UnreadableImageError:  # of a data set that reads its files itself, such as tar shards
            return self.key(index) if hasattr(self.dataset, "name") else f"#{number}"
        return str(source) if isinstance(source, str | Path) else self.key(index)

    def key(self, index: int) -> str:
        """Name a sample independently of where the data set lies."""
        return sample_key(self.dataset, int(self._indices[index]))

    def keys(self) -> Iterator[str]:
        """Yield the keys of all samples."""
        for number in _numbers(self._indices):
            yield sample_key(self.dataset, number)

    def fingerprint(self) -> str:
        """Return a short text that changes with the samples' names, classes and order."""
        digest = hashlib.blake2b(digest_size=16)
        for key, labels in zip(self.keys(), _labels(self.targets, self.classes), strict=True):
            digest.update(f"{key}/{labels}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def without(self, bad: Iterable[int]) -> View:
        """Return the view less some of its samples, by index."""
        kept = torch.ones(len(self), dtype=torch.bool)
        kept[list(bad)] = False
        sizes = self.sizes[kept] if self.sizes is not None else None
        return View(self.dataset, self._indices[kept], self.classes, sizes)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of samples of every class; one with several labels is counted for each of them."""
        if isinstance(self.targets, LabelSets):
            return tuple(self.targets.counts(len(self.classes)).tolist())
        return tuple(torch.bincount(self.targets, minlength=len(self.classes)).tolist())


def _targets(dataset: Dataset) -> Tensor:
    return torch.from_numpy(np.array(targets_of(dataset), dtype=np.int64))


def strata(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return the class by which each sample is divided: its own, or of several the rarest.

    Samples without any label are a class of their own.
    """
    if has_label_sets(dataset):
        return label_sets_of(dataset).rarest(len(dataset.classes))
    return _targets(dataset).numpy()


def _labels(targets: Tensor | LabelSets, classes: list[str]) -> Iterator[str]:
    """Name the classes of every sample; of several, in the order of the classes, with commas between them."""
    if isinstance(targets, LabelSets):
        return (",".join(classes[label] for label in sorted(own)) for own in targets)
    return (classes[target] for target in _numbers(targets))


def _numbers(values: Tensor) -> Iterator[int]:
    """Go through a tensor's values; `tolist` of millions of them takes more memory than they do."""
    for start in range(0, len(values), _CHUNK):
        yield from values[start : start + _CHUNK].tolist()


def sample_key(dataset: Dataset, index: int) -> str:
    """Name a sample as its data set does, else by its path below the root; by its number when it is no file."""
    name = getattr(dataset, "name", None)
    if callable(name):
        return str(name(index))
    source = dataset[index].source
    if not isinstance(source, str | Path):
        return f"#{index}"
    root = getattr(dataset, "root", None)
    return Path(os.path.relpath(source, root) if root is not None else source).as_posix()


def whole(dataset: Dataset, classes: list[str], where: str) -> View:
    """View all of a data set; every class in it must be one of `classes`.

    Raises DataError naming the classes that the training split does not have.
    """
    known = set(classes)
    unknown = [name for name in dataset.classes if name not in known]
    if unknown:
        raise _unknown_classes(unknown, classes, where)
    return View(dataset, torch.arange(len(dataset)), classes)


def _unknown_classes(unknown: list[str], classes: list[str], where: str) -> DataError:
    names = ", ".join(repr(name) for name in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
    known = ", ".join(repr(name) for name in classes[:5]) + (", ..." if len(classes) > 5 else "")
    return DataError(f"{where}: has classes that the model does not know: {names} (it knows {known})")


def stratified_split(dataset: Dataset, fraction: float, seed: int) -> Tensor:
    """Divide a data set into train and val, every class by the same fraction; see `PARTS`.

    Whether a sample goes to val depends on the seed and its own key, not on its neighbours' order, samples of
    one key stay together, and every class of two or more samples has at least one on each side. A sample with
    several labels goes with those that have the same rarest label: rare classes are divided by the fraction,
    the frequent ones among them by chance.
    """
    targets = strata(dataset)
    keys = (sample_key(dataset, index) for index in range(len(dataset)))
    ranks = np.fromiter((seed_for(seed, "split", key) for key in keys), np.int64, len(dataset))
    order = np.lexsort((ranks, targets))  # by class, and within each by rank

    counts = np.bincount(targets)
    starts = np.cumsum(counts) - counts
    num_val = np.array([min(max(1, round(int(n) * fraction)), int(n) - 1) for n in counts])

    owner, rank, positions = targets[order], ranks[order], np.arange(len(order))
    is_last = np.append((owner[1:] != owner[:-1]) | (rank[1:] != rank[:-1]), True)[: len(order)]
    last = np.minimum.accumulate(np.where(is_last, positions, len(order))[::-1])[::-1]  # of the same key
    is_val = last - starts[owner] < num_val[owner]
    parts = np.empty(len(order), np.int8)
    parts[order] = np.where(is_val, PARTS.index("val"), PARTS.index("train"))
    return torch.from_numpy(parts)


def part(dataset: Dataset, parts: Tensor, split: str, classes: list[str]) -> View:
    """View the samples that a division puts into a split.

    Raises DataError naming the classes of chosen samples that are not among `classes`.
    """
    chosen = (parts == PARTS.index(split)).nonzero().flatten()
    view = View(dataset, chosen, classes)
    used = view.targets.labels if isinstance(view.targets, LabelSets) else view.targets.numpy()
    if (used == _UNKNOWN).any():
        own = View(dataset, chosen, dataset.classes)
        found = {name for name, count in zip(own.classes, own.class_counts, strict=True) if count}
        raise _unknown_classes(sorted(found - set(classes)), classes, f"the split '{split}'")
    return view


def write_manifest(path: Path, dataset: Dataset, parts: Tensor) -> None:
    """Save a division as CSV: path, class, split; several classes of a picture with commas between them."""
    with path.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "class", "split"))
        targets = label_sets_of(dataset) if has_label_sets(dataset) else _targets(dataset)
        rows = zip(_labels(targets, dataset.classes), _numbers(parts), strict=True)
        for index, (labels, number) in enumerate(rows):
            if number != NO_PART:
                writer.writerow((sample_key(dataset, index), labels, PARTS[number]))


def read_manifest(path: Path, dataset: Dataset) -> Tensor:
    """Read a saved division of a data set; samples that it does not know are in no part.

    Raises DataError when the file is not one.
    """
    numbers = bytearray()

    def rows() -> Iterator[str]:
        with path.open(encoding="utf-8", newline="", errors="surrogateescape") as file:
            for row in csv.DictReader(file):
                numbers.append(PARTS.index(row["split"]))
                yield row["path"]

    try:
        saved = _hashes(rows())
    except (KeyError, ValueError, csv.Error):
        saved = _hashes(())
    if not len(saved):
        raise DataError(f"{path}: is not a split of clscli's -- expected the columns path, class, split")
    own = _hashes(sample_key(dataset, index) for index in range(len(dataset)))
    order = np.argsort(saved, kind="stable")
    places = order[np.searchsorted(saved, own, side="right", sorter=order) - 1]
    parts = np.frombuffer(numbers, np.int8)[places]
    return torch.from_numpy(np.where(saved[places] == own, parts, np.int8(NO_PART)))


def _hashes(keys: Iterable[str]) -> npt.NDArray[np.int64]:
    """Hash keys to 64 bits: among ten million, two are alike with a probability of 3 in a million."""
    block = bytearray()
    for key in keys:
        block += hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest()
    return np.frombuffer(block, np.int64)
