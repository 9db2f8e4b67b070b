"""Columns of plain text; imports nothing heavy, as `clscli list` must not."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Align columns with two spaces between them; `right` are the columns that hold numbers."""
    table = [[printable(cell) for cell in row] for row in [header, *rows]]
    widths = [max(_width(row[i]) for row in table) for i in range(len(header))]
    lines = []
    for row in table:
        cells = [_pad(cell, widths[i], i in right) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def printable(text: str) -> str:
    """Write control characters and undecodable bytes as escapes: a class name must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _width(text: str) -> int:
    """Count terminal columns: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    columns = {"W": 2, "F": 2}
    return sum(columns.get(unicodedata.east_asian_width(c), 1) for c in text if not unicodedata.combining(c))


def _pad(text: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(text))
    return gap + text if right else text + gap


def list_some(items: Sequence[str], limit: int = 10) -> str:
    """Join the first items with commas, and say how many more there are."""
    more = f", and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
