"""A data set from a list of pictures."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from clscli.data.datasets.files import Files
from clscli.data.datasets.labels import class_index, class_names, positions_of, unknown_class
from clscli.data.datasets.records import SPLIT_COLUMN, Format, Records, Row, format_of, refuse_bytes
from clscli.data.layout import SPLIT_FOLDERS
from clscli.data.packed import PackedStrings
from clscli.data.remote import locate, open_binary, parent
from clscli.data.samples import LabelSets
from clscli.errors import DataError
from clscli.locations import PathOrURL, is_url
from clscli.toml import format_value

# More bad lines than this are counted, not shown.
_SHOWN_PROBLEMS = 10


def filelist(
    split: str,
    *,
    path: PathOrURL,
    root: PathOrURL | None = None,
    format: Format | None = None,
    classes: list[str] | PathOrURL | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    labels_column: str | None = None,
    separator: str = ",",
    part: str | None = None,
) -> Files:
    """Read a list of pictures: `path label` lines, CSV, TSV, JSON lines or mmpretrain's JSON.

    `path` is the list, its format told by the extension unless `format` says so; pictures are looked for
    below `root`, or else beside the list. A label is a class's name, or its index in `classes` (names, or a
    file with one a line). Without `classes` they are the labels themselves, sorted. A line ends with its
    label after a tab or a space, so paths may have spaces; a list without labels is for prediction.

    In a table, `path_column` and `label_column` choose the columns. `labels_column` is for several labels a
    picture, names with `separator` between them or a JSON list; so is a `label` that is a JSON list. A
    column `split` chooses the lines for train, val and test, or for what `part` says, as in the split.csv
    of a run; those for val are used without `data.val`, too.

    A list is UTF-8, but for paths, which may have any bytes. Raises DataError naming every bad line, up to ten
    of them.
    """
    records = Records(
        path, format or format_of(path), path_column, labels_column or label_column, _read_classes(classes)
    )
    labels = _Labels(several=labels_column is not None, separator=separator)
    chosen = _Chosen(part or split)
    names = PackedStrings(_take(chosen.of(records), labels, records))
    if part is not None and not chosen.has_splits:
        raise DataError(f"{path}: has no column {SPLIT_COLUMN!r} to choose the part {part!r} by")
    if not names and not records.problems:
        there = f"no pictures of the split {chosen.split!r}, only of {', '.join(sorted(chosen.others))}"
        raise DataError(f"{path}: has {there if chosen.others else 'no pictures in it'}")
    known = labels.resolve(records)
    _refuse_problems(path, records.problems)
    folder = parent(path) if root is None else root
    for url in [folder, *chosen.urls.values()]:  # a missing package is found now, and not in a worker
        if is_url(url):
            locate(url)
    files = Files(folder, names, labels.targets, known)
    files.divides_itself = part is None and any(_same_split(name, "val") for name in chosen.others)
    return files


@dataclass
class _Chosen:
    """The lines of one split, where a list has several; and what else there is."""

    split: str
    has_splits: bool = False
    others: set[str] = field(default_factory=set)
    urls: dict[str, str] = field(default_factory=dict)  # one of each protocol

    def of(self, records: Records) -> Iterator[Row]:
        for row in records.rows():
            self.has_splits = self.has_splits or row.split is not None
            if row.split is not None and not _same_split(row.split, self.split):
                self.others.add(row.split)
                continue
            if is_url(row.path):
                self.urls.setdefault(row.path.partition("://")[0], row.path)
            yield row


def _take(rows: Iterator[Row], labels: _Labels, records: Records) -> Iterator[str]:
    """Yield each picture's name once its label is noted: millions of them are never a list of `str`."""
    for row in rows:
        labels.add(row, records)
        if "\0" in row.path:
            records.refuse(row.line, "no path has a NUL in it -- is this a text file?")
        yield _portable(row.path).replace("\0", "")


class _Labels:
    """Collect labels as they are written, and turn them into class indices once all are known."""

    def __init__(self, several: bool, separator: str) -> None:
        self._several, self._separator = several, separator
        self._codes: dict[Any, int] = {}
        self._sets: list[Sequence[int]] | None = None  # the codes of each sample, when it may have several
        self._single = array("q")
        self._lines = array("q")
        self.targets: Sequence[int] | LabelSets | None = None

    def add(self, row: Row, records: Records) -> None:
        """Take a line's label, or labels; what is neither a name nor an index is a problem."""
        if row.label is None:
            return
        label = row.label
        if self._several and isinstance(label, str):
            label = [name.strip() for name in label.split(self._separator) if name.strip()]
        several = isinstance(label, list)
        if not self._lines and several:
            self._sets = []
        labels = label if several else [label]
        if several != (self._sets is not None):
            expected = "one label" if several else "a list of labels"
            records.refuse(row.line, f"must have {expected} as the lines before, got {format_value(label)}")
        elif label == "":
            records.refuse(row.line, "no label")
        elif any(isinstance(one, bool) or not isinstance(one, str | int) for one in labels):
            records.refuse(row.line, "a label must be a name or an index")
        else:
            codes = [self._codes.setdefault(one, len(self._codes)) for one in labels]
            self._lines.append(row.line)
            if self._sets is not None:
                self._sets.append(codes)
            else:
                self._single.append(codes[0])

    def resolve(self, records: Records) -> list[str]:
        """Set `targets`, add lines of unknown classes to the problems, and return the classes."""
        if not self._lines:
            return []
        classes = records.classes or class_names(self._codes)
        positions = positions_of(classes)
        indices = [class_index(label, positions) for label in self._codes]
        written = list(self._codes)
        if -1 in indices:
            for line, codes in zip(self._lines, self._sets or ([code] for code in self._single), strict=True):
                for code in codes:
                    if indices[code] < 0:
                        records.refuse(line, unknown_class(written[code], classes))
        elif self._sets is not None:
            self.targets = LabelSets([indices[code] for code in codes] for codes in self._sets)
        else:
            self.targets = array("q", (indices[code] for code in self._single))
        return classes


def _read_classes(classes: list[str] | str | None) -> list[str] | None:
    """Return the class names: given as they are, or as a file with one a line."""
    if isinstance(classes, str):
        with open_binary(classes) as file:
            lines = file.read().decode("utf-8-sig", "surrogateescape").splitlines()
        for number, line in enumerate(lines, 1):
            refuse_bytes(f"{classes}: line {number}", line.strip())
        names = [name for line in lines if (name := line.strip())]
        return _distinct(names, classes)
    return classes if classes is None else _distinct(classes, "classes")


def _distinct(names: list[str], where: str) -> list[str]:
    if not names:
        raise DataError(f"{where}: names no class")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"{where}: names a class twice: {', '.join(map(repr, twice))}")
    return names


def _same_split(written: str, wanted: str) -> bool:
    return written == wanted or written.lower() in SPLIT_FOLDERS.get(wanted, ())


def _portable(path: str) -> str:
    """Take a list that was written on Windows everywhere."""
    return path.replace("\\", "/") if "\\" in path and "/" not in path else path


def _refuse_problems(path: str, problems: list[str]) -> None:
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        shown = "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        raise DataError(f"{path}: {shown}")
