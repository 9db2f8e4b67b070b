"""Lists of pictures as people write them: lines of text, CSV, TSV, JSON lines, mmpretrain's JSON."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from clscli.data.decode import extensions
from clscli.data.remote import open_binary
from clscli.errors import DataError
from clscli.toml import format_value

Format = Literal["text", "csv", "tsv", "jsonl", "json"]

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}
# What the columns are called that hold the path, and the label: by us, mmpretrain and Hugging Face.
PATH_COLUMNS = ("path", "img_path", "file_name")
LABEL_COLUMNS = ("label", "class", "gt_label")
SPLIT_COLUMN = "split"

# The byte order marks FF FE and FE FF, read as if they were UTF-8: Excel's "Unicode text" begins with one.
_BOMS_OF_UTF16 = ("\udcff\udcfe", "\udcfe\udcff")
# Bytes that are no UTF-8, as "surrogateescape" reads them.
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


class Row(NamedTuple):
    """One line of a list: its number, the picture, its label or labels as written, and its split, if any."""

    line: int
    path: str
    label: Any
    split: str | None


@dataclass
class Records:
    """A list to read: `problems` fills with one text a bad line, `classes` with what the list itself names."""

    path: str
    format: Format
    path_column: str | None = None
    label_column: str | None = None
    classes: list[str] | None = None
    problems: list[str] = field(default_factory=list)

    def refuse(self, number: int, reason: str) -> None:
        """Note that a line, or an entry of a JSON list, is wrong."""
        self.problems.append(f"{self._place(number)}: {reason}")

    def rows(self) -> Iterator[Row]:
        """Yield the good lines. Raises DataError when the file is not of its format at all."""
        readers = {
            "text": self._text,
            "csv": self._table,
            "tsv": self._table,
            "jsonl": self._json_lines,
            "json": self._json,
        }
        # Names that are no UTF-8 come through as the file system has them; a byte order mark does not.
        with TextIOWrapper(open_binary(self.path), "utf-8-sig", "surrogateescape", newline="") as file:
            yield from readers[self.format](file)

    def _text(self, file: TextIOWrapper) -> Iterator[Row]:
        labelled = None
        for number, raw in enumerate(file, 1):
            line = raw.strip()
            if not line:
                continue
            path, label = _cut(line)
            if labelled is None:
                labelled = label is not None
            if labelled and label is None:
                self.refuse(number, "no label")
            elif label is not None and not labelled:
                self.refuse(number, "a label, where the lines before have none")
            else:
                self._refuse_bytes(number, label)
                yield Row(number, path, label, None)

    def _table(self, file: TextIOWrapper) -> Iterator[Row]:
        header = file.readline()
        if header.startswith(_BOMS_OF_UTF16):
            raise DataError(f"{self.path}: is written in UTF-16 -- save it as UTF-8")
        reader = csv.DictReader(chain([header], file), delimiter=self._delimiter(header))
        try:
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            picture, label = self._columns(columns)
            for row in reader:
                if None in row or None in row.values():
                    much = "many" if None in row else "few"
                    self.refuse(reader.line_num, f"too {much} columns for the {len(columns)} named")
                else:
                    yield from self._row(reader.line_num, row, picture, label)
        except csv.Error as error:
            raise DataError(
                f"{self.path}: line {reader.line_num}: is not {self.format.upper()}: {error}"
            ) from None

    def _delimiter(self, header: str) -> str:
        """Tell by the header; where a comma is the decimal point, Excel puts semicolons between columns."""
        if self.format == "tsv":
            return "\t"
        return ";" if ";" in header and "," not in header else ","

    def _json_lines(self, file: TextIOWrapper) -> Iterator[Row]:
        def parsed() -> Iterator[tuple[int, Any]]:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    self.refuse(number, f"is not JSON: {error}")

        return self._objects(parsed())

    def _json(self, file: TextIOWrapper) -> Iterator[Row]:
        try:
            document = json.load(file)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path}: is not JSON: {error}") from None
        if isinstance(document, dict):
            information = document.get("metainfo")
            self._take_classes(information.get("classes") if isinstance(information, dict) else None)
            document = document.get("data_list")
        if not isinstance(document, list):
            raise DataError(f'{self.path}: must hold {{"data_list": [...]}} or a list of objects')
        yield from self._objects(enumerate(document, 1))

    def _objects(self, numbered: Iterable[tuple[int, Any]]) -> Iterator[Row]:
        columns = None
        for number, row in numbered:
            if not isinstance(row, dict):
                self.refuse(number, f"must be an object, got {_short(row)}")
                continue
            columns = columns or self._columns(list(row))
            yield from self._row(number, row, *columns)

    def _take_classes(self, classes: Any) -> None:
        if self.classes is None and classes is not None:
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise DataError(f"{self.path}: metainfo.classes must be a list of names, got {_short(classes)}")
            for name in classes:
                refuse_bytes(f"{self.path}: metainfo.classes", name)
            self.classes = classes

    def _columns(self, columns: Sequence[str]) -> tuple[str, str | None]:
        """Choose the columns of the path and of the label; a list without the latter has no labels."""
        found = []
        for chosen, known in ((self.path_column, PATH_COLUMNS), (self.label_column, LABEL_COLUMNS)):
            column = chosen if chosen in columns else next((c for c in known if c in columns), None)
            if (column is None and known is PATH_COLUMNS) or chosen not in (None, column):
                if any(_is_picture(name) for name in columns):
                    raise DataError(
                        f"{self.path}: line 1 is a picture, not the names of the columns "
                        "-- write them above it, such as: path,label"
                    )
                self._refuse_bytes(1, list(columns))
                wanted = repr(chosen) if chosen else " or ".join(map(repr, known))
                choose = "" if chosen else ' -- name it: path_column = "..."'
                raise DataError(f"{self.path}: has no column {wanted}, only {', '.join(columns)}{choose}")
            found.append(column)
        assert found[0] is not None
        return found[0], found[1]

    def _row(self, number: int, row: Mapping[str, Any], picture: str, label: str | None) -> Iterator[Row]:
        path, split = row.get(picture), row.get(SPLIT_COLUMN)
        if not isinstance(path, str) or not path.strip():
            self.refuse(number, "no path")
        elif label is not None and row.get(label) is None:
            self.refuse(number, "no label")
        else:
            written = row[label] if label else None
            written = written.strip() if isinstance(written, str) else written
            self._refuse_bytes(number, written, split)
            yield Row(number, path.strip(), written, split if split is None else str(split).strip())

    def _refuse_bytes(self, number: int, *names: Any) -> None:
        """Raise DataError for a label or a split that is no text; only a path may have bytes of any kind."""
        for name in names:
            for text in name if isinstance(name, list) else [name]:
                if isinstance(text, str) and not text.isascii():
                    refuse_bytes(f"{self.path}: {self._place(number)}", text)

    def _place(self, number: int) -> str:
        return f"{'entry' if self.format == 'json' else 'line'} {number}"


def format_of(path: str) -> Format:
    """Tell a list's format by its extension; what is no other is lines of text."""
    return _FORMATS.get(PurePosixPath(path.partition("::")[0]).suffix.lower(), "text")


def refuse_bytes(where: str, text: str) -> None:
    """Raise DataError when there are bytes in a text that are no UTF-8."""
    if _NOT_UTF8.search(text):
        shown = repr(text[:40]).replace("\\udc", "\\x")
        raise DataError(f"{where}: {shown} is not UTF-8 -- save the file as UTF-8")


def _cut(line: str) -> tuple[str, str | None]:
    """Cut a line into path and label, at the last tab or else the last space, unless all of it is a path."""
    pieces = line.rsplit("\t", 1) if "\t" in line else line.rsplit(None, 1)
    if len(pieces) == 1 or _is_picture(line):
        return line, None
    return pieces[0].strip(), pieces[1]


def _is_picture(path: str) -> bool:
    return "." + path.rpartition(".")[2].lower() in extensions()


def _short(value: Any) -> str:
    text = format_value(value) if isinstance(value, str | int | float | bool | list) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
