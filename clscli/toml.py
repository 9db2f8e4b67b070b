"""TOML as clscli needs it: reading with the line of every key, and writing values back.

`tomllib` reads but tells no lines, and nothing in the standard library writes.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from bisect import bisect_left
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
    text = text.replace("\r\n", "\n")
    lines = text.split("\n")  # not splitlines: strings may hold its rarer line ends
    is_open = _open_at_end(text, len(lines))
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
            for end in range(1, len(header) + 1):  # [a.b] may be the first that is heard of a
                found.setdefault(header[:end], start + 1)
            start += 1
            continue
        end, table = _statement(lines, start, is_open)
        within = _lines_within(lines, start, end) if 1 < end - start <= _LONGEST else {}
        for path in paths(table):
            found.setdefault(header + path, within.get(path, start) + 1)
        start = end
    return found


# Looking at each line of a statement takes time with the square of their number, a tenth of a second for so many.
# Longer ones are lists that a program wrote: of these, the line on which they begin must do.
_LONGEST = 400


def _lines_within(lines: list[str], start: int, end: int) -> dict[Path, int]:
    """Find on which line each path begins in a statement of several lines, as far as it is not the first one.

    What stands above a line is whole, but for the brackets that are still open.
    """
    found: dict[Path, int] = {}
    seen: set[Path] = set()
    begin = start  # of what is not yet seen whole
    for line in range(start, end):
        text = "\n".join(lines[start : line + 1])
        try:
            here = paths(tomllib.loads(f"{text}\n{_closing_brackets(text)}"))
        except tomllib.TOMLDecodeError:  # in the middle of a string
            continue
        found |= {path: begin for path in here if path not in seen}
        seen.update(here)
        begin = line + 1
    return found


# Brackets, and what may hold some that mean nothing: strings and comments.
_BRACKETS = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:\\.|[^"\\])*"' + r"|'[^']*'|#[^\n]*|[\[\]{}]",
    re.DOTALL,
)


def _open_at_end(text: str, num_lines: int) -> bytearray:
    """Tell of every line of a document whether a bracket or a string is still open at its end."""
    is_open = bytearray(num_lines)
    line_ends = [match.start() for match in re.finditer("\n", text)]
    depth = 0
    begin = 0  # the line of the bracket that was opened first
    for token in _BRACKETS.finditer(text):
        first, last = bisect_left(line_ends, token.start()), bisect_left(line_ends, token.end())
        if token[0] in ("[", "{"):
            begin = begin if depth else first
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
            first = first if depth else begin
        is_open[first:last] = b"\1" * (last - first)
    return is_open


def _closing_brackets(text: str) -> str:
    """Return the brackets that close those which are open at the end of a text."""
    closing = ""
    for bracket in _BRACKETS.findall(text):
        if bracket in "[{":
            closing = {"[": "]", "{": "}"}[bracket] + closing
        elif bracket in "]}":
            closing = closing[1:]
    return closing


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


def _statement(lines: list[str], start: int, is_open: bytearray) -> tuple[int, dict[str, Any]]:
    for end in range(start + 1, len(lines) + 1):
        if is_open[end - 1]:
            continue
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
