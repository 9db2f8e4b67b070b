"""From labels as they are written, names or indices, to classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clscli.plugins import near_names


def class_names(labels: Iterable[str | int]) -> list[str]:
    """Name the classes by their labels: sorted, as numbers if all are."""
    names = {str(label) for label in labels}
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)


def positions_of(classes: Sequence[str]) -> dict[str, int]:
    """Map each class's name to its index."""
    return {name: index for index, name in enumerate(classes)}


def class_index(label: str | int, positions: Mapping[str, int]) -> int:
    """Find a label's class: by name first, as a name may be a number; -1 if it is none."""
    if (index := positions.get(str(label))) is not None:
        return index
    is_index = isinstance(label, int) or label.isdecimal()
    return int(label) if is_index and 0 <= int(label) < len(positions) else -1


def unknown_class(label: str | int, classes: Sequence[str]) -> str:
    """Say that a label is no class, and which one may have been meant."""
    if isinstance(label, int) or label.isdecimal():
        return f"no class {label}, there are {len(classes)}, from 0"
    near = near_names(label, classes)
    return f"unknown class {label!r}" + (f", did you mean {near}?" if near else "")
