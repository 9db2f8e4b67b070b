"""From a spec's `[data]` to the pictures of a split."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from clscli.data.datasets.folder import Folder
from clscli.data.datasets.wrappers import has_repeats, innermost
from clscli.data.layout import Root, as_root, find_splits, other_folders
from clscli.data.samples import Dataset, has_label_sets
from clscli.data.split import PARTS, View, part, read_manifest, stratified_split, whole
from clscli.errors import DataError, PluginError, describe
from clscli.reports.text import list_some
from clscli.spec import Bound, ResolvedSpec

log = logging.getLogger("clscli")

MANIFEST = "split.csv"


@dataclass(frozen=True)
class TrainingData:
    """The two splits that training needs. The training split owns the classes."""

    train: View
    val: View
    classes: list[str]
    parts: Tensor | None  # the division of the training pictures, when val was split off from them
    notes: list[str] = field(default_factory=list)  # what a user should know about the pictures
    skipped: list[Skipped] = field(default_factory=list)  # what is in neither, as it cannot be read


class Skipped(NamedTuple):
    """A picture that a run leaves out."""

    path: str  # as `View.key` names it
    split: str
    reason: str


def open_training_data(spec: ResolvedSpec, run: Path | None = None) -> TrainingData:
    """Find the pictures to train and validate on; `run` is a run directory whose saved split is used again.

    Nothing is decoded. Raises SpecError, pointing at the key in the spec, when the data cannot be used.
    """
    try:
        found = _datasets(spec, run)
        return _pair(spec, found["train"], found.get("val"), run, _notes(spec, found))
    except DataError as error:
        raise spec.error(_named_at(spec, "train"), str(error)) from None


def _named_at(spec: ResolvedSpec, split: str) -> tuple[str, str]:
    """Tell which key of the spec names the pictures of a split."""
    return ("data", "root" if spec.spec.data.root is not None else split)


def _pair(
    spec: ResolvedSpec, train: Dataset, val: Dataset | None, run: Path | None, notes: list[str]
) -> TrainingData:
    classes = list(train.classes)
    if len(classes) == 1 and not has_label_sets(train):  # of several labels, one alone is a question: yes or no
        raise DataError(f"found one class, {classes[0]!r} -- a classifier needs at least two")
    if val is not None:
        try:
            view = whole(val, classes, "the validation pictures")
            check_labels(view, "the validation pictures", multi_label=has_label_sets(train))
        except DataError as error:
            raise spec.error(_named_at(spec, "val"), str(error)) from None
        if missing := _missing_classes(view):
            notes.append(f"no validation pictures of: {missing}")
        return TrainingData(whole(train, classes, "the training pictures"), view, classes, None, notes)
    parts = _division(spec, train, run)
    views = [part(train, parts, split, classes) for split in PARTS]
    if not all(len(view) for view in views):
        raise DataError("too few pictures to split off validation pictures -- every class has only one")
    if spec.spec.data.train is not None:
        of = f"{len(views[1])} of the {len(views[0]) + len(views[1])} training pictures"
        notes.append(f"data.val is left out: {of} are set aside for validation")
    return TrainingData(views[0], views[1], classes, parts, notes)


def _division(spec: ResolvedSpec, train: Dataset, run: Path | None) -> Tensor:
    """Return which samples are for training and which for validation, as a run saved it or as the spec says."""
    if has_repeats(train):
        raise DataError(
            "shows pictures several times, so none can be split off for validation -- write data.val, "
            "or divide the pictures first, with a kfold in it"
        )
    if manifest := _manifest_of(run):
        return read_manifest(manifest, train)
    return stratified_split(train, spec.spec.data.val_fraction, spec.spec.seed)


def _manifest_of(run: Path | None) -> Path | None:
    """Return where a run has written how the pictures were divided; None if they were not."""
    return run / MANIFEST if run is not None and (run / MANIFEST).is_file() else None


def _datasets(spec: ResolvedSpec, run: Path | None) -> dict[str, Dataset]:
    """Open the data sets of the spec: by the folders of `root`, or as `train`, `val` and `test` say."""
    root = spec.values["data"].get("root")
    if root is not None:
        splits = find_splits(as_root(root)) or {"train": as_root(root)}
        if "train" not in splits:
            names = " and ".join(Path(path).name for path in splits.values())
            raise DataError(f"{root}: has the folder {names}, but no folder 'train'")
        return {split: Folder(split, root=path) for split, path in splits.items()}
    found: dict[str, Dataset] = {}
    for split in ("train", "val", "test"):
        for bound in spec.many("data", split):
            found[split] = _checked(bound, spec.construct(bound, split=split))
    train = spec.one("data", "train")
    divides_itself = getattr(found["train"], "divides_itself", False) or _divides_itself(train)
    if "val" not in found and divides_itself and _manifest_of(run) is None:
        found["val"] = spec.construct(train, split="val")
    return found


def _checked(bound: Bound, dataset: Dataset) -> Dataset:
    """Return a data set that has classes and a length. Raises PluginError for what has not."""
    try:
        classes, _ = list(dataset.classes), len(dataset)
        wrong = next((name for name in classes if not isinstance(name, str)), None)
        problem = None if wrong is None else f"classes must be texts, not {wrong!r}"
    except (AttributeError, TypeError) as error:
        problem = f"it must have classes, a length and samples: {describe(error)}"
    if problem is not None:
        raise PluginError(f"{bound.component} breaks its contract: {problem}")
    return dataset


def _divides_itself(bound: Bound) -> bool:
    """Tell whether a data set, or all that it is made of, can be opened for training and for validation."""
    if bound.attribute("divides_itself"):
        return bound.kwargs.get("part") is None  # else this part of a published set is read for both
    within = [inner for inner in bound.within if inner.component.kind == "datasets"]
    return bool(within) and all(map(_divides_itself, within))


def _notes(spec: ResolvedSpec, found: dict[str, Dataset]) -> list[str]:
    notes = []
    if "val" in found and spec.spec.data.train is not None and spec.spec.data.val is None:
        name = spec.one("data", "train").label
        notes.append(f"data.val is left out: validation uses the pictures that {name} has for it")
    root = spec.values["data"].get("root")
    splits = find_splits(as_root(root)) if root is not None else {}
    ignored = other_folders(as_root(root), splits) if splits else []
    if ignored:
        notes.append(f"not read, beside the split folders: {', '.join(ignored)}")
    for dataset in (inner for opened in found.values() for inner in innermost(opened)):
        if not isinstance(dataset, Folder):
            continue
        if dataset.skipped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in dataset.skipped.most_common(5))
            notes.append(f"{dataset.root}: not read, as no pictures: {kinds}")
        if dataset.loose:
            pictures = "1 picture" if dataset.loose == 1 else f"{dataset.loose} pictures"
            notes.append(f"{dataset.root}: not read, as in no class folder: {pictures}")
        if dataset.empty:
            notes.append(f"{dataset.root}: no pictures in {', '.join(dataset.empty)}: no class was made of it")
    return notes


def open_split(
    spec: ResolvedSpec, split: str, classes: list[str], *, root: Root | None = None, run: Path | None = None
) -> View:
    """Find the labelled pictures to evaluate on: those of another `root`, or of the spec's own data.

    A root of class folders without split folders is taken whole. `run` is the run directory, whose saved
    split is used when val was split off from train. Raises DataError.
    """
    view = _open_split(spec, split, classes, root, run)
    if missing := _missing_classes(view):
        log.info("note: no pictures of: %s; these classes are in no average", missing)
    return view


def check_labels(view: View, where: str, *, multi_label: bool) -> None:
    """Raise DataError for pictures of one label where those of training have several, or the other way round."""
    if view.multi_label != multi_label:
        has, have = ("several labels", "one") if view.multi_label else ("one label", "several")
        raise DataError(f"{where} have {has} each, and those that the model is trained on have {have}")


def _missing_classes(view: View) -> str:
    return list_some([name for name, count in zip(view.classes, view.class_counts, strict=True) if not count])


def _open_split(spec: ResolvedSpec, split: str, classes: list[str], root: Root | None, run: Path | None) -> View:
    if root is not None:
        splits = find_splits(root)
        if splits and split not in splits:
            there = ", ".join(sorted(splits))
            raise DataError(f"{root}: has no pictures of the split '{split}' -- there are: {there}")
        return whole(Folder(split, root=splits.get(split, root)), classes, str(root))
    found = _datasets(spec, run)
    if split in found and not (split == "train" and "val" not in found):
        return whole(found[split], classes, f"the split '{split}'")
    if split == "test":
        raise DataError("the spec's data has no split 'test' -- give a folder: --data DIR")
    view = part(found["train"], _division(spec, found["train"], run), split, classes)
    if not len(view):
        raise DataError(f"none of the pictures are left that training put into the split '{split}'")
    return view
