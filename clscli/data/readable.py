"""Leave out of a run what cannot be read, or refuse to begin it."""

from __future__ import annotations

import csv
import dataclasses
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from clscli.data.catalog import Skipped, TrainingData
from clscli.data.headers import read_headers
from clscli.data.split import View
from clscli.errors import DataError
from clscli.observer import Observer
from clscli.reports.text import list_some

log = logging.getLogger("clscli")

SKIPPED = "skipped.csv"


def only_readable(data: TrainingData, on_bad_image: str, observer: Observer | None = None) -> TrainingData:
    """Leave out the pictures whose headers cannot be read. Raises DataError naming them if they may not be."""
    views: list[View] = []
    skipped: list[Skipped] = []
    named: list[str] = []
    for split, view in _views(data):
        headers = read_headers(view, observer)
        view.sizes = headers.sizes
        for index, reason in headers.unreadable.items():
            skipped.append(Skipped(view.key(index), split, reason))
            named.append(f"{view.name(index)} ({reason})")
        views.append(view.without(headers.unreadable) if headers.unreadable else view)
    if not named:
        return data
    listed = list_some(named)
    total = len(data.train) + len(data.val)
    if on_bad_image == "error":
        raise DataError(
            f"{len(named)} of {total} pictures cannot be read: {listed} "
            '-- mend or remove them, or set data.on_bad_image = "skip"'
        )
    log.info("skipped: %d of %d pictures cannot be read: %s", len(named), total, listed)
    kept = dataclasses.replace(data, train=views[0], val=views[1], skipped=skipped)
    empty = [name for name, count in zip(data.classes, kept.train.class_counts, strict=True) if not count]
    if empty:
        raise DataError(f"no readable training pictures are left of: {', '.join(empty)}")
    if not len(kept.val):
        raise DataError("no readable validation pictures are left")
    return kept


def without_skipped(data: TrainingData, skipped: Sequence[Skipped]) -> TrainingData:
    """Leave out what a run has left out since it began, whether or not it can be read by now."""
    keys: dict[str, set[str]] = {"train": set(), "val": set()}
    for one in skipped:
        keys[one.split].add(one.path)

    def rest(view: View, out: set[str]) -> View:
        return view.without(index for index, key in enumerate(view.keys()) if key in out) if out else view

    train, val = (rest(view, keys[split]) for split, view in _views(data))
    return dataclasses.replace(data, train=train, val=val, skipped=list(skipped))


def _views(data: TrainingData) -> list[tuple[str, View]]:
    return [("train", data.train), ("val", data.val)]


def write_skipped(path: Path, skipped: Iterable[Skipped]) -> None:
    """Save what a run leaves out as CSV: path, split, reason."""
    with path.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(Skipped._fields)
        writer.writerows(skipped)


def read_skipped(path: Path) -> list[Skipped]:
    """Read what a run leaves out. Raises DataError when the file does not say so."""
    try:
        with path.open(encoding="utf-8", newline="", errors="surrogateescape") as file:
            rows = [Skipped(row["path"], row["split"], row["reason"]) for row in csv.DictReader(file)]
    except (KeyError, ValueError, csv.Error):
        rows = [Skipped("", "", "")]
    if not all(row.split in ("train", "val") for row in rows):
        raise DataError(f"{path}: is not a list of skipped pictures -- expected the columns path, split, reason")
    return rows
