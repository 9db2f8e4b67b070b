"""TOML as clscli needs it: reading with the line of every key, and writing values back.

`tomllib` reads but tells no lines, and nothing in the standard library writes.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]  # ("transforms", "train", 0, "size")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read(text: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """Parse a TOML document; return its values and the line (from 1) on which each path was written.

    Raises tomllib.TOMLDecodeError, whose message tells line and column.
    """
    return tomllib.loads(text), _key_lines(text)


def _key_lines(text: str) -> dict[Path, int]:
    """Find the line of every path in a document that is known to parse.

    A statement is the shortest run of lines that parses alone; `tomllib` itself says which keys it sets.
    """
    lines = text.splitlines()
    found: dict[Path, int] = {}
    header: Path = ()
    lengths: dict[Path, int] = {}  # elements seen so far of every [[array of tables]]
    start = 0
    while start < len(lines):
        stripped = lines[start].strip()
        if not stripped or stripped.startswith("#"):
            start += 1
            continue
        if stripped.startswith("["):
            header = _open_table(tomllib.loads(stripped), lengths)
            found.setdefault(header, start + 1)
            start += 1
            continue
        end, table = _statement(lines, start)
        for path in paths(table):
            found.setdefault(header + path, start + 1)
        start = end
    return found


def _open_table(table: dict[str, Any], lengths: dict[Path, int]) -> Path:
    """Turn a parsed `[a.b]` or `[[a.b]]` line into a path, with the index of the element it opens."""
    path: Path = ()
    value: Any = table
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        path += (key,)
        if isinstance(value, list):
            lengths[path] = lengths.get(path, 0) + 1
            return (*path, lengths[path] - 1)
        if path in lengths:  # [a.b.c] below [[a.b]] belongs to the last element
            path += (lengths[path] - 1,)
    return path


def _statement(lines: list[str], start: int) -> tuple[int, dict[str, Any]]:
    for end in range(start + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
    return len(lines), {}


def paths(value: Any, prefix: Path = ()) -> list[Path]:
    """List the path of every table, array and value inside `value`, outer ones first."""
    found: list[Path] = [prefix] if prefix else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*prefix, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += paths(inner, (*prefix, index))
    return found


def dotted(path: Path) -> str:
    """Write a path as a user would: `transforms.train.0.size`."""
    return ".".join(str(part) for part in path)


def format_key(key: str) -> str:
    """Write a key, quoted only where TOML asks for it."""
    return key if _BARE_KEY.fullmatch(key) else format_value(key)


def format_value(value: Any) -> str:
    """Write a plain value (bool, int, float, str, list or dict of these) on one line of TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else "inf" if value == math.inf else _format_float(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inner = ", ".join(f"{format_key(k)} = {format_value(v)}" for k, v in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(format_value(v) for v in value)}]"
    return str(value)  # dates and times, which no parameter takes, but which a message may have to show


def _format_float(value: float) -> str:
    text = repr(value)
    # TOML wants a digit on both sides of the point, and repr gives 1e-05 without one: both are fine there.
    return text if "." in text or "e" in text or "inf" in text else f"{text}.0"
