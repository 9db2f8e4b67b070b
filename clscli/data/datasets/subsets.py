"""Data sets that show some samples of another one, or those of rare classes several times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from clscli.data.datasets.wrappers import Selection, has_repeats, raw_targets
from clscli.data.samples import Dataset, has_label_sets, label_sets_of
from clscli.data.split import sample_key, strata
from clscli.seeds import seed_for

Count = Annotated[int, Field(ge=0)]


class Subset(Selection):
    """Show a part of a data set: its first pictures, a fraction of each class, or those of given numbers.

    Exactly one of `first`, `fraction` and `indices` (from 0) says which. A fraction is drawn by chance, each
    class by the same one and none down to nothing, unless `stratified` is false; a `seed` always draws the same
    pictures. All classes stay, those without a picture as well.
    """

    def __init__(
        self,
        *,
        dataset: Dataset,
        first: Annotated[int, Field(ge=1)] | None = None,
        fraction: Annotated[float, Field(gt=0, le=1)] | None = None,
        indices: Annotated[list[Count], Field(min_length=1)] | None = None,
        stratified: bool = True,
        seed: Count = 0,
    ) -> None:
        if sum(value is not None for value in (first, fraction, indices)) != 1:
            raise ValueError("give one of first, fraction and indices")
        if indices is not None:
            places = np.array(indices, np.int64)
            if places.max() >= len(dataset):
                raise ValueError(
                    f"indices must be below {len(dataset)}, the number of pictures, got {places.max()}"
                )
        elif fraction is not None:
            order, targets = drawn_order(dataset, seed, "subset", stratified=stratified)
            places = np.sort(order[_is_among_first(targets, fraction)])
        else:
            places = np.arange(min(first or 0, len(dataset)))
        super().__init__(dataset, places)
        self.repeats |= len(np.unique(places)) < len(places)


class KFold(Selection):
    """Divide a data set into folds for cross-validation: one to validate on, the others to train on.

    It stands for both splits, so `data.val` is left out, and each run takes another fold:
    `--set data.train.fold=3`. The folds of a `seed` are always the same; each has the same share of every class,
    unless `stratified` is false. The pictures to divide are those that the data set has for training.
    """

    passes_on: ClassVar[Mapping[str, Any]] = {"split": "train"}
    divides_itself: ClassVar[bool] = True

    def __init__(
        self,
        split: str,
        *,
        dataset: Dataset,
        folds: Annotated[int, Field(ge=2)] = 5,
        fold: Count = 0,
        stratified: bool = True,
        seed: Count = 0,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"folds are for the splits 'train' and 'val', not for {split!r}")
        if fold >= folds:
            raise ValueError(f"fold must be below {folds}, the number of folds, got {fold}")
        if len(dataset) < folds:
            raise ValueError(f"{len(dataset)} pictures cannot be divided into {folds} folds")
        if has_repeats(dataset):
            raise ValueError("the data set shows pictures several times, in more than one fold -- divide it first")
        order, _ = drawn_order(dataset, seed, "fold", stratified=stratified)
        fold_of = np.empty(len(order), np.int64)
        fold_of[order] = np.arange(len(order)) % folds  # class by class, each where the one before it ended
        is_val = fold_of == fold
        super().__init__(dataset, np.flatnonzero(is_val if split == "val" else ~is_val))


class ClassBalanced(Selection):
    """Show pictures of rare classes several times in an epoch of training.

    Gupta et al., "LVIS: A Dataset for Large Vocabulary Instance Segmentation", 2019: a class whose share of the
    pictures is below `threshold` is shown sqrt(threshold / share) times as often, a picture of several classes as
    often as its rarest one. Where that is 1.5 times, every second picture of the class is shown twice. Without a
    threshold it is an equal share, 1 / number of classes. In validation every picture is shown once.
    """

    def __init__(
        self, split: str, *, dataset: Dataset, threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    ) -> None:
        if not dataset.classes:
            raise ValueError("pictures without labels have no classes to balance")
        places = np.arange(len(dataset))
        if split == "train":
            places = _balanced(dataset, threshold or 1 / len(dataset.classes))
        super().__init__(dataset, places)
        self.repeats |= len(places) > len(dataset)


def drawn_order(dataset: Dataset, seed: int, purpose: str, *, stratified: bool) -> tuple[np.ndarray, np.ndarray]:
    """Put samples in an order of chance, class by class if `stratified`; return it, and the targets in it.

    The order of two samples depends on the seed and their names, not on where they lie or on other samples.
    """
    names = (sample_key(dataset, index) for index in range(len(dataset)))
    ranks = np.fromiter((seed_for(seed, purpose, name) for name in names), np.int64, len(dataset))
    if not stratified:
        return np.argsort(ranks, kind="stable"), np.zeros(len(dataset), np.int64)
    if not dataset.classes:
        raise ValueError("pictures without labels cannot be drawn class by class: set stratified = false")
    targets = strata(dataset)
    order = np.lexsort((ranks, targets))
    return order, targets[order]


def _is_among_first(targets: np.ndarray, fraction: float) -> np.ndarray:
    """Mark the first `fraction` of each run of equal targets, at least one."""
    _, starts, counts = np.unique(targets, return_index=True, return_counts=True)
    wanted = np.maximum(1, np.rint(counts * fraction))
    return np.arange(len(targets)) - np.repeat(starts, counts) < np.repeat(wanted, counts)


def _balanced(dataset: Dataset, threshold: float) -> np.ndarray:
    """Return the places of all samples, those of rare classes several times."""
    num_classes = len(dataset.classes)
    if has_label_sets(dataset):
        sets = label_sets_of(dataset)
        counts, group = sets.counts(num_classes), sets.rarest(num_classes)
    else:
        group = np.array(raw_targets(dataset), np.int64)
        counts = np.bincount(group, minlength=num_classes)
    shares = np.maximum(counts, 1) / len(dataset)
    # Rounded, as 0.3 / 0.075 is to be 4, and its root 2.
    factors = np.append(np.round(np.sqrt(np.maximum(1, threshold / shares)), 9), 1)  # the last: of no class
    order = np.argsort(group, kind="stable")
    shown = np.floor(np.cumsum(factors[group[order]]) + 0.5)  # class by class: how often, up to each sample
    return np.sort(np.repeat(order, np.diff(shown, prepend=0).astype(np.int64)))
