"""From a spec's `[data]` to the pictures of a split."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clscli.data.datasets.folder import Folder
from clscli.data.decode import UnreadableImageError, check_header
from clscli.data.layout import find_splits, other_folders
from clscli.data.samples import Dataset
from clscli.data.split import Manifest, View, part, read_manifest, stratified_split, whole
from clscli.errors import DataError
from clscli.reports.text import list_some
from clscli.spec import ResolvedSpec

log = logging.getLogger("clscli")

MANIFEST = "split.csv"


@dataclass(frozen=True)
class TrainingData:
    """The two splits that training needs. The training split owns the classes."""

    train: View
    val: View
    classes: list[str]
    manifest: Manifest | None  # set when val was split off from train
    notes: list[str] = field(default_factory=list)  # what a user should know about the pictures


def open_training_data(spec: ResolvedSpec, run: Path | None = None) -> TrainingData:
    """Find the pictures to train and validate on; `run` is a run directory whose saved split is used again.

    Nothing is decoded. Raises SpecError, pointing at the key in the spec, when the data cannot be used.
    """
    try:
        found = _datasets(spec)
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
    if len(classes) < 2:
        found = f"one class, {classes[0]!r}" if classes else "no class"
        raise DataError(f"found {found} -- a classifier needs at least two")
    if val is not None:
        try:
            view = whole(val, classes, "the validation pictures")
        except DataError as error:
            raise spec.error(_named_at(spec, "val"), str(error)) from None
        if missing := _missing_classes(view):
            notes.append(f"no validation pictures of: {missing}")
        return TrainingData(View(train, range(len(train)), classes), view, classes, None, notes)
    manifest = _division(spec, train, run)
    views = [part(train, manifest, split, classes) for split in ("train", "val")]
    if not all(len(view) for view in views):
        raise DataError("too few pictures to split off validation pictures -- every class has only one")
    return TrainingData(views[0], views[1], classes, manifest, notes)


def _division(spec: ResolvedSpec, train: Dataset, run: Path | None) -> Manifest:
    """Return which samples are for training and which for validation, as a run saved it or as the spec says."""
    if run is not None and (run / MANIFEST).is_file():
        return read_manifest(run / MANIFEST)
    return stratified_split(train, spec.spec.data.val_fraction, spec.spec.seed)


def _datasets(spec: ResolvedSpec) -> dict[str, Dataset]:
    """Open the data sets of the spec: by the folders of `root`, or as `train`, `val` and `test` say."""
    root = spec.values["data"].get("root")
    if root is not None:
        splits = find_splits(Path(root)) or {"train": Path(root)}
        if "train" not in splits:
            names = " and ".join(path.name for path in splits.values())
            raise DataError(f"{root}: has the folder {names}, but no folder 'train'")
        return {split: Folder(split, root=path) for split, path in splits.items()}
    found: dict[str, Dataset] = {}
    for split in ("train", "val", "test"):
        for bound in spec.many("data", split):
            try:
                found[split] = spec.construct(bound, split=split)
            except DataError as error:
                raise spec.error(bound.path, str(error)) from error
    return found


def _notes(spec: ResolvedSpec, found: dict[str, Dataset]) -> list[str]:
    notes = []
    root = spec.values["data"].get("root")
    splits = find_splits(Path(root)) if root is not None else {}
    ignored = other_folders(Path(root), splits) if splits else []
    if ignored:
        notes.append(f"not read, beside the split folders: {', '.join(ignored)}")
    for dataset in found.values():
        if not isinstance(dataset, Folder):
            continue
        if dataset.skipped:
            kinds = ", ".join(f"{count} {kind}" for kind, count in dataset.skipped.most_common(5))
            notes.append(f"{dataset.root}: not read, as no pictures: {kinds}")
        if dataset.loose:
            notes.append(f"{dataset.root}: not read, as in no class folder: {dataset.loose} pictures")
        if dataset.empty:
            notes.append(f"{dataset.root}: no pictures in {', '.join(dataset.empty)}: no class was made of it")
    return notes


def open_split(
    spec: ResolvedSpec, split: str, classes: list[str], *, root: Path | None = None, run: Path | None = None
) -> View:
    """Find the labelled pictures to evaluate on: those of another `root`, or of the spec's own data.

    A root of class folders without split folders is taken whole. `run` is the run directory, whose saved
    split is used when val was split off from train. Raises DataError.
    """
    view = _open_split(spec, split, classes, root, run)
    if missing := _missing_classes(view):
        log.info("note: no pictures of: %s; these classes are in no average", missing)
    return view


def _missing_classes(view: View) -> str:
    return list_some([name for name, count in zip(view.classes, view.class_counts, strict=True) if not count])


def _open_split(spec: ResolvedSpec, split: str, classes: list[str], root: Path | None, run: Path | None) -> View:
    if root is not None:
        splits = find_splits(root)
        if splits and split not in splits:
            there = ", ".join(sorted(splits))
            raise DataError(f"{root}: has no pictures of the split '{split}' -- there are: {there}")
        return whole(Folder(split, root=splits.get(split, root)), classes, str(root))
    found = _datasets(spec)
    if split in found and not (split == "train" and "val" not in found):
        return whole(found[split], classes, f"the split '{split}'")
    if split == "test":
        raise DataError("the spec's data has no split 'test' -- give a folder: --data DIR")
    view = part(found["train"], _division(spec, found["train"], run), split, classes)
    if not len(view):
        raise DataError(f"none of the pictures are left that training put into the split '{split}'")
    return view


def find_unreadable(view: View) -> dict[int, str]:
    """Open every picture's header; return index -> reason of those that cannot be read.

    This costs a few per cent of decoding and finds what is empty, missing or no picture before a run starts.
    """

    def reasons(indices: range) -> dict[int, str]:
        found = {}
        for index in indices:
            try:
                check_header(view[index].source)
            except UnreadableImageError as error:
                found[index] = str(error)
        return found

    size = 256  # a task for every picture would take more memory than its name
    chunks = [range(len(view))[start : start + size] for start in range(0, len(view), size)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return {index: text for found in pool.map(reasons, chunks) for index, text in found.items()}
