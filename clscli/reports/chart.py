"""Lines drawn in plain text: with braille patterns, or with stars where there are none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# The bits of a braille pattern's dots, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
_MIN_COLUMNS = 20


class _Marks(NamedTuple):
    """Characters to draw with, and how many dots one of them holds."""

    tick: str
    side: str
    corner: str
    floor: str
    dots: tuple[int, int]  # columns, rows


_UNICODE = _Marks("┤", "│", "└", "─", (2, 4))
_ASCII = _Marks("+", "|", "+", "-", (1, 1))


def line_chart(
    title: str,
    lines: Sequence[Sequence[float]],
    ends: tuple[str, str],
    *,
    low: float | None = None,
    width: int = 80,
    height: int = 12,
    encoding: str = "utf-8",
) -> str:
    """Draw lines of evenly spread values, `width` columns wide; `ends` label the first and the last of them.

    The lowest value is at the bottom, or `low` is. A stream of an `encoding` without braille patterns gets ASCII.
    """
    marks = _UNICODE if "utf" in encoding.lower() else _ASCII
    bottom = min(min(line) for line in lines) if low is None else low
    top = max(max(line) for line in lines)
    labels = {0: f"{top:.3g}", height - 1: f"{bottom:.3g}"}
    margin = max(len(label) for label in labels.values()) + 1
    columns = max(_MIN_COLUMNS, width - margin - 1)
    dots: set[tuple[int, int]] = set()
    for line in lines:
        span = top - bottom or 1.0
        dots.update(_trace([(v - bottom) / span for v in line], columns * marks.dots[0], height * marks.dots[1]))
    drawn = [title]
    for row in range(height):
        axis = marks.tick if row in labels else marks.side
        cells = "".join(_cell(dots, column, row, marks) for column in range(columns))
        drawn.append(f"{labels.get(row, ''):>{margin - 1}} {axis}{cells}".rstrip())
    first, last = ends
    drawn.append(f"{'':{margin}}{marks.corner}{marks.floor * columns}")
    drawn.append(f"{'':{margin + 1}}{first}{last:>{columns - len(first)}}")
    return "\n".join(drawn)


def _trace(values: Sequence[float], columns: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield the dots, as column and row from the top, of a line through values from 0 to 1."""
    last = max(1, len(values) - 1)
    points = [(round(i / last * (columns - 1)), round((1 - v) * (rows - 1))) for i, v in enumerate(values)]
    yield points[0]
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        distance = max(next_x - x, abs(next_y - y), 1)
        for i in range(1, distance + 1):
            yield x + round(i * (next_x - x) / distance), y + round(i * (next_y - y) / distance)


def _cell(dots: set[tuple[int, int]], column: int, row: int, marks: _Marks) -> str:
    wide, high = marks.dots
    found = [(x, y) for y in range(high) for x in range(wide) if (column * wide + x, row * high + y) in dots]
    if not found:
        return " "
    return "*" if marks is _ASCII else chr(_BRAILLE + sum(_DOTS[y][x] for x, y in found))
