"""From what the user names (a file, a preset, options) to one merged draft.

Order: defaults < `extends` (left to right) < the file < `--unset` < `--set`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path as FilePath
from typing import Any

import pydantic_core

from clscli import toml
from clscli.errors import SpecError, UsageError
from clscli.plugins import near_names
from clscli.presets import preset_names, preset_text
from clscli.spec.draft import DEFAULT, Draft, Origin
from clscli.spec.overrides import OverrideError, parse_key, parse_set

# Problems with options are reported after those of all files.
_LAST = (1_000_000, 0)


@dataclass(frozen=True)
class _Document:
    """The text of one spec file or preset, and how messages name it."""

    name: str  # "spec.toml", "base.toml", "preset demo"
    text: str
    folder: FilePath | None  # None: a preset, which stands nowhere
    identity: str  # one value for one file, to notice cycles


def spec_name(source: str | os.PathLike[str]) -> str:
    """Name a run after its spec: `specs/cars.toml` -> `cars`."""
    return FilePath(source).stem


def read_draft(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    sets: Iterable[str] = (),
    unsets: Iterable[str] = (),
) -> Draft:
    """Read a spec (a file, the name of a preset, or a dict) and lay the options over it.

    Raises UsageError when there is no such spec, SpecError for what cannot be read or merged.
    """
    reader = _Reader(read_defaults())
    if isinstance(source, Mapping):
        table = _plain(source)
        reader.add_table(table, _origins_of(table, "spec", FilePath.cwd()), "spec", chain=())
    else:
        document = _find(source)
        reader.draft.name = document.name
        reader.add(document, chain=(), extended_by="")
    reader.override(sets, unsets)
    return reader.draft


def read_training_draft(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    data: str | os.PathLike[str] | None = None,
    sets: Iterable[str] = (),
    unsets: Iterable[str] = (),
) -> Draft:
    """Read a spec as `read_draft` does, and let `data` stand for whatever pictures it names."""
    draft = read_draft(source, sets=sets, unsets=unsets)
    if data is not None and isinstance(draft.get(("data",)), dict):
        for split in ("train", "val", "test"):
            draft.values["data"].pop(split, None)
        origin = Origin(f"--data {os.fspath(data)}", _LAST, FilePath.cwd())
        draft.put(("data", "root"), os.fspath(data), {("data", "root"): origin})
    return draft


def read_defaults() -> Draft:
    """Return the draft of a spec that says nothing."""
    text = resources.files("clscli.spec").joinpath("defaults.toml").read_text(encoding="utf-8")
    values, lines = toml.read(text)
    return Draft(values, dict.fromkeys([*lines, *toml.paths(values)], DEFAULT))


def _find(source: str | os.PathLike[str]) -> _Document:
    name = os.fspath(source)
    path = FilePath(name)
    if _ask(path.is_file):
        return _read_file(path, name)
    if path.suffix != ".toml" and name in preset_names():
        return _read_preset(name)
    if _ask(path.is_dir):
        raise UsageError(
            f"{name}: is a folder, not a spec -- for a folder of pictures: clscli train --data {name}"
        )
    if path.suffix == ".toml" or path.parent != FilePath():
        raise UsageError(f"{name}: no such spec file")
    near = near_names(name, preset_names())
    hint = f"did you mean {near}?" if near else f"presets are: {', '.join(preset_names())}"
    raise UsageError(f"{name}: neither a spec file nor a preset -- {hint}")


def _ask(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a name too long for a file, a folder that may not be entered
        return False


def _read_file(path: FilePath, name: str) -> _Document:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as cause:
        raise SpecError([f"{name}: is not UTF-8 text (byte {cause.start}) -- TOML files are UTF-8"]) from None
    except OSError as cause:
        raise SpecError([f"{name}: cannot be read: {cause.strerror}"]) from None
    return _Document(name, text, path.resolve().parent, str(path.resolve()))


def _read_preset(name: str) -> _Document:
    return _Document(f"preset {name}", preset_text(name), None, f"preset {name}")


@dataclass
class _Reader:
    """Merges documents into a draft, each after those that it extends."""

    defaults: Draft
    draft: Draft = field(init=False)
    layer: int = 0

    def __post_init__(self) -> None:
        self.draft = Draft()
        self.draft.merge(self.defaults.values, self.defaults.origins)

    def add(self, document: _Document, chain: tuple[_Document, ...], extended_by: str) -> None:
        """Merge a document over the draft, after what it extends; `extended_by` ends up in messages."""
        try:
            table, lines = toml.read(document.text)
        except tomllib.TOMLDecodeError as cause:
            raise SpecError([f"{document.name}: is not valid TOML: {_lower(str(cause))}"]) from None
        except (ValueError, RecursionError):  # tomllib's own limits: digits of an integer, depth of brackets
            raise SpecError([f"{document.name}: holds a number too long or brackets too deep to read"]) from None
        origins = {
            path: Origin(f"{document.name}:{line}{extended_by}", (0, line), document.folder)
            for path, line in lines.items()
        }
        self.add_table(table, origins, document.name, (*chain, document))

    def add_table(
        self, table: dict[str, Any], origins: dict[toml.Path, Origin], name: str, chain: tuple[_Document, ...]
    ) -> None:
        """Merge a parsed document: first what it extends, then its `unset`, then its own keys."""
        where = {key: origins[(key,)].where if (key,) in origins else name for key in ("extends", "unset")}
        for parent in _strings(table.pop("extends", []), f"{where['extends']}: extends"):
            self.add(*self._parent(parent, chain, where["extends"]))
        for key in _strings(table.pop("unset", []), f"{where['unset']}: unset"):
            self._unset(key, f"{where['unset']}: unset")
        self.layer += 1
        ranked = {p: Origin(o.where, (self.layer, o.order[1]), o.folder) for p, o in origins.items()}
        self.draft.merge(table, ranked)

    def _parent(
        self, name: str, chain: tuple[_Document, ...], where: str
    ) -> tuple[_Document, tuple[_Document, ...], str]:
        folder = chain[-1].folder if chain else FilePath.cwd()
        document = self._find_parent(name, folder, chain, where)
        if document.identity in [d.identity for d in chain]:
            cycle = " -> ".join([*(d.name for d in chain), document.name])
            raise SpecError([f"{where}: extends: goes round in a circle: {cycle}"])
        return document, chain, f" (extended by {where.partition(' (')[0]})"

    def _find_parent(
        self, parent: str, folder: FilePath | None, chain: tuple[_Document, ...], where: str
    ) -> _Document:
        if folder is not None:
            path = folder / parent
            if _ask(path.is_file):
                shown = FilePath(chain[-1].name).parent / parent if chain else FilePath(parent)
                return _read_file(path, str(shown))
        if parent in preset_names():
            return _read_preset(parent)
        near = near_names(parent, preset_names())
        hint = f"did you mean the preset {near}?" if near else f"presets are: {', '.join(preset_names())}"
        raise SpecError([f"{where}: extends: no file or preset {parent!r} -- {hint}"])

    def override(self, sets: Iterable[str], unsets: Iterable[str]) -> None:
        """Apply `--unset`, then `--set`, each left to right; raises SpecError with all that fail."""
        problems = []
        for text in unsets:
            try:
                self._unset(text, f"--unset {text}")
            except SpecError as error:
                problems += error.problems
        for number, text in enumerate(sets):
            try:
                self._set(text, number)
            except OverrideError as error:
                problems.append(f"--set {text}: {error}")
        if problems:
            raise SpecError(problems)

    def _unset(self, key: str, where: str) -> None:
        try:
            path = parse_key(key)
            self.draft.unset(path, self.defaults)
        except OverrideError as error:
            raise SpecError([f"{where}: {error}"]) from None
        except KeyError:
            around: Any = self.draft.get(path[:-1])
            if isinstance(around, list):
                around_name = toml.dotted(path[:-1])
                raise SpecError([f"{where}: elements of a list stay -- set {around_name} as a whole"]) from None
            near = near_names(str(path[-1]), around) if isinstance(around, dict) else ""
            hint = f" -- did you mean {near}?" if near else ""
            raise SpecError([f"{where}: {key} is not set{hint}"]) from None

    def _set(self, text: str, number: int) -> None:
        path, value = parse_set(text)
        if path[0] in ("extends", "unset"):
            raise OverrideError(f"{path[0]} can only be written in a file")
        origin = Origin(f"--set {text}", (_LAST[0], number), FilePath.cwd())
        origins = dict.fromkeys(toml.paths(value, path), origin)
        # Up to the first list the key is a table like any other, and follows the same rules of merging.
        split = next((i for i in range(1, len(path)) if isinstance(self.draft.get(path[:i]), list)), None)
        if split is None:
            if any(isinstance(part, int) for part in path):
                raise OverrideError(f"{toml.dotted(path)}: there is no list to take an element of")
            for part in reversed(path):
                value = {part: value}
            self.draft.merge(value, origins)
            return
        for end in range(split + 1, len(path) + 1):
            parent, key = self.draft.get(path[: end - 1]), path[end - 1]
            if isinstance(parent, list) and not (isinstance(key, int) and key < len(parent)):
                raise OverrideError(f"{toml.dotted(path[: end - 1])} has {len(parent)} elements, no '{key}'")
            if isinstance(key, str) and not isinstance(parent, dict):
                raise OverrideError(f"{toml.dotted(path[: end - 1])} is not a table")
            if isinstance(key, int) and not isinstance(parent, list):
                raise OverrideError(f"{toml.dotted(path[: end - 1])} is not a list")
            if isinstance(parent, dict) and key not in parent and end < len(path):
                parent[key] = {}
        around = self.draft.get(path[:-1])
        if path[-1] == "type" and isinstance(around, dict) and around.get("type") != value:
            path, value = path[:-1], {"type": value}  # another component: nothing of the old one stays
        self.draft.put(path, value, {path: origin})


def _plain(source: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what a program passes into what TOML can say: tuples into lists, paths into strings."""
    try:
        table: dict[str, Any] = pydantic_core.to_jsonable_python(dict(source))
    except ValueError as cause:
        raise SpecError([f"spec: holds what no TOML file can: {_lower(str(cause))}"]) from None
    return table


def _origins_of(table: Mapping[str, Any], where: str, folder: FilePath) -> dict[toml.Path, Origin]:
    return dict.fromkeys(toml.paths(dict(table)), Origin(where, (0, 0), folder))


def _strings(value: Any, where: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise SpecError([f"{where}: must be a string or a list of strings, got {toml.format_value(value)}"])
    return values


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
