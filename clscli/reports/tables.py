"""Results as text for the terminal, and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from clscli.engine.metrics import Evaluation
from clscli.engine.multi_label_metrics import AnyEvaluation, MultiLabelEvaluation
from clscli.files import atomic_write
from clscli.reports.text import format_table

# A confusion matrix with more classes does not fit a terminal.
_MAX_CONFUSION = 12


def format_evaluation(result: AnyEvaluation) -> str:
    """Write an evaluation for the terminal: totals, the table of classes, a small confusion matrix."""
    if isinstance(result, MultiLabelEvaluation):
        return f"{_label_totals(result)}\n\n{_label_table(result)}"
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


def _label_totals(result: MultiLabelEvaluation) -> str:
    row = (str(result.samples), f"{result.loss:.4f}", percent(result.map), f"{result.threshold:g}")
    return format_table(("samples", "loss", "mAP", "threshold"), [row], right=range(4))


def _label_table(result: MultiLabelEvaluation) -> str:
    rows: list[tuple[str, ...]] = [
        (c.name, *map(percent, (c.average_precision, c.precision, c.recall, c.f1)), str(c.support))
        for c in result.per_class
    ]
    total = str(sum(c.support for c in result.per_class))
    macro = (result.map, result.macro_precision, result.macro_recall, result.macro_f1)
    micro = (result.micro_precision, result.micro_recall, result.micro_f1)
    rows.append(("macro average", *map(percent, macro), total))
    rows.append(("micro average", "", *map(percent, micro), total))
    header = ("class", "average precision", "precision", "recall", "F1", "support")
    return format_table(header, rows, right=range(1, 6))


def write_evaluation(result: AnyEvaluation, document: str, folder: Path) -> str:
    """Write `metrics.json` (`document`) and tables as CSV into a folder, and what can be drawn; name the files."""
    with atomic_write(folder / "metrics.json") as path:
        path.write_text(document + "\n", encoding="utf-8")
    if isinstance(result, MultiLabelEvaluation):
        labels = [(c.name, c.average_precision, c.precision, c.recall, c.f1, c.support) for c in result.per_class]
        header = ("class", "average_precision", "precision", "recall", "f1", "support")
        _write_csv(folder / "per_class.csv", header, labels)
        return "metrics.json and per_class.csv"
    from clscli.reports.plots import draw_confusion  # matplotlib

    classes = [(c.name, c.precision, c.recall, c.f1, c.support) for c in result.per_class]
    _write_csv(folder / "per_class.csv", ("class", "precision", "recall", "f1", "support"), classes)
    rows = [(name, *row) for name, row in zip(result.classes, result.confusion, strict=True)]
    _write_csv(folder / "confusion.csv", ("true \\ predicted", *result.classes), rows)
    draw_confusion(result.confusion, result.classes, folder / "confusion.png")
    return "metrics.json, per_class.csv, confusion.csv and confusion.png"


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
