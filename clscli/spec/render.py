"""A spec as TOML text, with or without the origin of every value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clscli.spec.draft import Draft
from clscli.toml import Path, format_key, format_value


def render_spec(values: dict[str, Any], draft: Draft | None = None) -> str:
    """Write a spec's values as TOML; with a draft, each value is followed by `# where it was written`."""
    comment: Callable[[Path], str] = lambda path: ""  # noqa: E731
    if draft is not None:
        comment = lambda path: f"  # {_where(draft, path)}"  # noqa: E731
    return "\n".join(_lines(values, (), "", comment)).strip("\n") + "\n"


def _where(draft: Draft, path: Path) -> str:
    # A value that was completed from a signature has no origin of its own, though the table around it has.
    return draft.origins[path].where if path in draft.origins else "default"


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def _lines(table: dict[str, Any], path: Path, header: str, comment: Callable[[Path], str]) -> list[str]:
    lines = []
    tables = []
    for key, value in table.items():
        if isinstance(value, dict) or _is_array_of_tables(value):
            tables.append((key, value))
        else:
            lines.append(f"{format_key(key)} = {format_value(value)}{comment((*path, key))}")
    for key, value in tables:
        name = f"{header}.{format_key(key)}" if header else format_key(key)
        if isinstance(value, dict):
            inner = _lines(value, (*path, key), name, comment)
            if not inner or "= " in inner[0]:  # a table that holds only tables needs no line of its own
                lines += ["", f"[{name}]"]
            lines += inner
        else:
            for index, element in enumerate(value):
                lines += ["", f"[[{name}]]", *_lines(element, (*path, key, index), name, comment)]
    return lines
