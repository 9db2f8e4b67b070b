"""A spec while it is put together: merged values, and where each of them was written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from clscli.toml import Path, dotted, paths


@dataclass(frozen=True)
class Origin:
    """Where a value was written: `spec.toml:3`, `--set optimizer.lr=1`, `default`."""

    where: str
    order: tuple[int, int] = (0, 0)  # layer, then line: problems are reported in this order
    folder: FilePath | None = None  # what a relative path in the value is relative to


DEFAULT = Origin("default")


@dataclass
class Draft:
    """Values merged from several layers, each with its origin."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)
    name: str = "spec"  # how messages name the whole
    notes: list[str] = field(default_factory=list)  # what a user may not have meant

    def origin(self, path: Path) -> Origin:
        """Tell where the value at `path` was written, or the nearest table around it."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path[:-1]
        return DEFAULT

    def get(self, path: Path) -> Any:
        """Return the value at `path`, or None; the empty path is the whole."""
        value: Any = self.values
        for key in path:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
                value = value[key]
            else:
                return None
        return value

    def merge(self, table: Mapping[str, Any], origins: Mapping[Path, Origin], path: Path = ()) -> None:
        """Lay a table over the values: tables merge by key, all else is replaced.

        A component table of another `type` replaces the one below it whole, so that no parameter of the old
        component is left over.
        """
        for key, value in table.items():
            here = (*path, key)
            old = self.get(here)
            if isinstance(value, dict) and isinstance(old, dict) and not _is_other_component(old, value):
                if here in origins:
                    self.origins[here] = origins[here]
                self.merge(value, origins, here)
            else:
                self.note_forgotten(here, value, origins)
                self.put(here, value, origins)

    def note_forgotten(self, path: Path, new: Any, origins: Mapping[Path, Origin]) -> None:
        """Keep in mind what somebody wrote for a component that gives way to another one, to say it later."""
        old = self.get(path)
        if not (isinstance(new, dict) and isinstance(old, dict) and "type" in new):
            return
        lost = [key for key in old if key not in new and self.origin((*path, key)) != DEFAULT]
        if lost:
            who = origins.get((*path, "type"), DEFAULT).where
            where = self.origin((*path, lost[0])).where
            self.notes.append(
                f"{who}: {dotted(path)} is another component now, without {', '.join(lost)} of {where}"
            )

    def put(self, path: Path, value: Any, origins: Mapping[Path, Origin]) -> None:
        """Replace what is at `path`, a table or a list element included; the tables around it must exist."""
        self.remove_origins(path)
        parent: Any = self.get(path[:-1])
        parent[path[-1]] = copy.deepcopy(value)
        inside = (o for p, o in origins.items() if p[: len(path)] == path)  # as of --set data.train.type=folder
        around = (origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins)
        origin = next(around, next(inside, DEFAULT))
        for inner in paths(value, path):
            self.origins[inner] = origins.get(inner, origin)

    def unset(self, path: Path, defaults: Draft) -> None:
        """Forget what was set at `path`; what the defaults say there holds again.

        Raises KeyError, with the dotted path, when nothing is there.
        """
        parent: Any = self.get(path[:-1])
        if not isinstance(parent, dict) or path[-1] not in parent:
            raise KeyError(dotted(path))
        del parent[path[-1]]
        self.remove_origins(path)
        default = defaults.get(path)
        around = defaults.get(path[:-1])
        if default is not None and not _is_other_component(around, parent):
            self.put(path, default, defaults.origins)

    def remove_origins(self, path: Path) -> None:
        """Forget the origins at and below `path`."""
        for known in [p for p in self.origins if p[: len(path)] == path]:
            del self.origins[known]


def _is_other_component(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return "type" in new and "type" in old and new["type"] != old["type"]
