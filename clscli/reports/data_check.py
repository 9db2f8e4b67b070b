"""What `clscli data check` found, as text for the terminal and as plain values for JSON."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from clscli.data.check import Finding, Report
from clscli.data.inspection import Survey
from clscli.reports.text import format_table, printable

# More classes than this do not fit a terminal: of more, the largest and the smallest are shown. --json has all.
_MAX_CLASSES = 40
_MAX_DETAILS = 10
_BAR_COLUMNS = 10, 40  # at least, and at most


def format_report(report: Report, *, width: int, encoding: str) -> str:
    """Write a report for a terminal `width` columns wide, whose `encoding` says how bars can be drawn."""
    parts = []
    if report.surveys:
        bar = "█" if "utf" in encoding.lower() else "#"
        parts += [_class_table(report, width, bar), _split_table(report)]
    parts += [_worded("problem", finding) for finding in report.problems]
    parts += [_worded("note", finding) for finding in report.notes]
    count = len(report.problems)
    would = f"{count} {'problem' if count == 1 else 'problems'} would stop a training"
    return "\n\n".join([*parts, would if count else "nothing here would stop a training"])


def _class_table(report: Report, width: int, bar: str) -> str:
    """Count the pictures of every class, with a bar for those of training."""
    splits, counts = [s.split for s in report.surveys], [s.view.class_counts for s in report.surveys]
    most = max(1, *counts[0])
    at_least, at_most = _BAR_COLUMNS
    names = max(map(len, report.classes))
    columns = min(max(width - names - 10 * len(splits), at_least), at_most)
    rows = [
        (name, *map(str, own), bar * max(round(columns * own[0] / most), own[0] > 0))
        for name, *own in zip(report.classes, *counts, strict=True)
    ]
    if len(rows) > _MAX_CLASSES:
        rows.sort(key=lambda row: -int(row[1]))
        half, left_out = _MAX_CLASSES // 2, len(rows) - _MAX_CLASSES
        gap = (f"... {left_out} classes between", *[""] * (len(splits) + 1))
        rows = [*rows[:half], gap, *rows[-half:]]
    rows.append((f"all {len(report.classes)}", *(str(len(s.view)) for s in report.surveys), ""))
    return format_table(("class", *splits, "histogram of train"), rows, right=range(1, len(splits) + 1))


def _split_table(report: Report) -> str:
    """Describe the pictures of every split, a column for each."""
    assert report.training_size is not None
    height, width = report.training_size
    rows = [
        ("pictures", *(str(len(s.view)) for s in report.surveys)),
        ("unreadable", *(str(len(s.unreadable)) for s in report.surveys)),
        ("megabytes", *(f"{s.num_bytes / 1e6:.1f}" for s in report.surveys)),
        _spread_row("shorter side", [_spread(s.sides(min)) for s in report.surveys]),
        _spread_row("longer side", [_spread(s.sides(max)) for s in report.surveys]),
        (f"smaller than {width} x {height}", *(str(s.count_smaller(height, width)) for s in report.surveys)),
        ("formats", *(_listed(s.formats) for s in report.surveys)),
        ("modes", *(_listed(s.modes) for s in report.surveys)),
    ]
    header = ("", *(s.split for s in report.surveys))
    return format_table(header, rows, right=range(1, len(header)))


def _spread(values: array[int]) -> dict[str, int]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median_low(values), "max": max(values)}


def _spread_row(name: str, spreads: Sequence[dict[str, int]]) -> tuple[str, ...]:
    cells = (" / ".join(map(str, spread.values())) or "-" for spread in spreads)
    return (f"{name}, min / median / max", *cells)


def _listed(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common()) or "-"


def _worded(what: str, finding: Finding) -> str:
    lines = [f"{what}: {finding.message}", *(f"  {detail}" for detail in finding.details[:_MAX_DETAILS])]
    if len(finding.details) > _MAX_DETAILS:
        lines.append(f"  and {len(finding.details) - _MAX_DETAILS} more: --json has them all")
    return "\n".join(map(printable, lines))


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as one document; keys are only ever added to."""
    splits = [s.split for s in report.surveys]
    counts = zip(*(s.view.class_counts for s in report.surveys), strict=True)
    return {
        "ok": not report.problems,
        "problems": [finding.as_json() for finding in report.problems],
        "notes": [finding.as_json() for finding in report.notes],
        "classes": [
            {"class": name, **dict(zip(splits, own, strict=True))}
            for name, own in zip(report.classes, counts, strict=True)
        ],
        "training_size": list(report.training_size) if report.training_size else None,
        "splits": {s.split: _split_as_json(s, report) for s in report.surveys},
        "duplicates": [
            {
                "across_splits": len({picture.split for picture in group}) > 1,
                "across_classes": len({picture.label for picture in group}) > 1,
                "pictures": [{"path": p.name, "split": p.split, "class": p.label} for p in group],
            }
            for group in report.copies
        ],
    }


def _split_as_json(survey: Survey, report: Report) -> dict[str, Any]:
    assert report.training_size is not None
    return {
        "pictures": len(survey.view),
        "bytes": survey.num_bytes,
        "shorter_side": _spread(survey.sides(min)),
        "longer_side": _spread(survey.sides(max)),
        "smaller": survey.count_smaller(*report.training_size),
        "formats": dict(survey.formats.most_common()),
        "modes": dict(survey.modes.most_common()),
        "unreadable": [{"path": survey.view.name(i), "error": reason} for i, reason in survey.unreadable.items()],
    }
