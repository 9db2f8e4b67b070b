"""Results as text for the terminal, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from clscli.engine.metrics import Evaluation
from clscli.files import atomic_write
from clscli.reports.text import format_table

# A confusion matrix with more classes does not fit a terminal.
_MAX_CONFUSION = 12


def format_evaluation(result: Evaluation) -> str:
    """Write an evaluation for the terminal: totals, the table of classes, a small confusion matrix."""
    parts = [
        format_table(
            ("samples", "loss", "top-1", f"top-{result.k}", "balanced accuracy"),
            [
                (
                    str(result.samples),
                    f"{result.loss:.4f}",
                    percent(result.top1),
                    percent(result.top5),
                    percent(result.balanced_accuracy),
                )
            ],
            right=range(5),
        ),
        _class_table(result),
    ]
    if len(result.classes) <= _MAX_CONFUSION:
        parts.append(_confusion_table(result))
    return "\n\n".join(parts)


def percent(fraction: float) -> str:
    """Write a fraction in per cent."""
    return f"{100 * fraction:.2f} %"


def _class_table(result: Evaluation) -> str:
    rows: list[tuple[str, ...]] = [
        (c.name, percent(c.precision), percent(c.recall), percent(c.f1), str(c.support)) for c in result.per_class
    ]
    macro = (result.macro_precision, result.macro_recall, result.macro_f1)
    rows.append(("macro average", *map(percent, macro), str(result.samples)))
    return format_table(("class", "precision", "recall", "F1", "support"), rows, right=range(1, 5))


def _confusion_table(result: Evaluation) -> str:
    header = ["true \\ predicted", *result.classes]
    rows = [[name, *map(str, row)] for name, row in zip(result.classes, result.confusion, strict=True)]
    return format_table(header, rows, right=range(1, len(header)))


def write_evaluation(result: Evaluation, document: str, folder: Path) -> None:
    """Write `metrics.json` (`document`), `per_class.csv` and `confusion.csv` into a folder."""
    with atomic_write(folder / "metrics.json") as path:
        path.write_text(document + "\n", encoding="utf-8")
    classes = [(c.name, c.precision, c.recall, c.f1, c.support) for c in result.per_class]
    _write_csv(folder / "per_class.csv", ("class", "precision", "recall", "f1", "support"), classes)
    rows = [(name, *row) for name, row in zip(result.classes, result.confusion, strict=True)]
    _write_csv(folder / "confusion.csv", ("true \\ predicted", *result.classes), rows)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
