"""Data sets of the Hugging Face hub, and folders or Parquet files in its formats."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clscli.data.datasets.labels import class_names, positions_of
from clscli.data.samples import Sample
from clscli.errors import DataError, describe

# What its data sets call the split that stands for ours, the first ones preferred.
_SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}


class HuggingFace:
    """Read a data set of the Hugging Face hub, or a local folder or Parquet file in its formats.

    `name` is that of the hub (`uoft-cs/cifar10`), a folder, or a file. `config` chooses one of several
    configurations and `revision` a version; `part` reads another split than the one that the hub's names
    train, validation and test stand for. The columns of the pictures and of the labels are found by their
    types, unless `image_column` and `label_column` name them.

    Needs the package datasets. No code of a data set is ever run. Raises DataError when there is no such
    data set, split or column.
    """

    def __init__(
        self,
        split: str,
        *,
        name: str,
        config: str | None = None,
        revision: str | None = None,
        part: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        self._name = name
        found = _load(name, config, revision)
        table = self._choose_split(found, split, part)
        self.divides_itself = part is None and any(known in found for known in _SPLITS["val"])
        features = dict(table.features)
        image = self._column(features, "Image", image_column, ("image", "img"))
        label = self._column(features, "ClassLabel", label_column, ("label", "labels", "class"))
        self._image = image
        # As bytes: pictures are decoded in one place, for all formats alike.
        self._pictures = table.select_columns([image]).cast_column(image, type(features[image])(decode=False))
        names = getattr(features[label], "names", None)
        self.classes, self.targets = self._classes(table[label], label, names)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self._pictures[index][self._image]
        return Sample(picture["bytes"] or picture["path"], self.targets[index])

    def _choose_split(self, found: Any, split: str, part: str | None) -> Any:
        wanted = (part,) if part is not None else _SPLITS.get(split, (split,))
        chosen = next((name for name in wanted if name in found), None)
        if chosen is None:
            there = ", ".join(found)
            raise DataError(f'{self._name}: has no split {wanted[0]!r}, only {there} -- choose: part = "..."')
        return found[chosen]

    def _column(self, features: dict[str, Any], kind: str, chosen: str | None, usual: Sequence[str]) -> str:
        """Find a column: as the user says, by its type, or by a usual name."""
        typed = [name for name, feature in features.items() if type(feature).__name__ == kind]
        candidates = [chosen] if chosen is not None else [*[n for n in usual if n in typed], *typed, *usual]
        for name in candidates:
            if name in features and (kind == "ClassLabel" or name in typed):
                return name
        what, key = ("pictures", "image_column") if kind == "Image" else ("labels", "label_column")
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        named = f" {chosen!r}" if chosen is not None else ""
        raise DataError(f'{self._name}: no column{named} of {what} among {columns} -- name it: {key} = "..."')

    def _classes(self, labels: Any, column: str, names: list[str] | None) -> tuple[list[str], array[int]]:
        """Return class names and targets; a column of plain names or numbers names the classes itself."""
        values = list(labels)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise DataError(f"{self._name}: the column {column!r} must hold a class each, not {value!r}")
        if names is None:
            names = class_names(values)
            positions = positions_of(names)
            return names, array("q", (positions[str(value)] for value in values))
        if not all(0 <= value < len(names) for value in values):
            raise DataError(f"{self._name}: some pictures have no label (-1) in the column {column!r}")
        return list(names), array("q", values)


def _load(name: str, config: str | None, revision: str | None) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError("huggingface needs a package that is not installed -- pip install datasets") from None
    path = Path(name)
    try:
        if path.is_file():
            kind = {".parquet": "parquet", ".arrow": "arrow"}.get(path.suffix.lower())
            if kind is None:
                raise DataError(f"{name}: must be a .parquet or .arrow file, or a folder")
            return datasets.load_dataset(kind, data_files=name)
        if (path / "dataset_dict.json").is_file():  # written by save_to_disk
            return datasets.load_from_disk(name)
        return datasets.load_dataset(name, config, revision=revision)
    except DataError:
        raise
    except Exception as error:  # of the hub, the network, the files
        raise DataError(f"{name}: cannot be opened as a data set of Hugging Face: {describe(error)}") from None
