"""Pictures of results, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clscli.engine.monitor import goodness
from clscli.files import atomic_write
from clscli.reports.text import printable

if TYPE_CHECKING:
    from clscli.engine.schedules.preview import Preview

# Told apart by colour-blind eyes too (Okabe and Ito).
_BLUE, _ORANGE, _GREEN, _GRAY = "#0072b2", "#d55e00", "#009e73", "#777777"


def draw_curves(rows: Sequence[dict[str, Any]], path: Path, *, monitor: str = "top1") -> None:
    """Draw loss and top-1 of training and validation over a run, and the metric `monitor` with a line at its best.

    Of pictures with several labels, mAP and F1 in the place of top-1. Over the epochs, or over the steps when
    there were validations within epochs.
    """
    unit = "epoch" if len({row["epoch"] for row in rows}) == len(rows) else "step"
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    loss_curves = {"train_loss": "training", "loss": "validation"}
    percentages, in_percent = "top-1 (%)", {"train_top1": "training", "top1": "validation"}
    if not any("top1" in row for row in rows) and any("map" in row for row in rows):
        percentages = "mean average precision and F1 (%)"
        names = {"map": "mAP", "macro_f1": "macro F1", "micro_f1": "micro F1"}
        in_percent = {key: f"validation, {name}" for key, name in names.items()}
    elif monitor not in ("loss", "top1"):
        percentages = f"top-1 and {monitor} (%)"
        in_percent = {key: f"{label}, top-1" for key, label in in_percent.items()}
        in_percent[monitor] = f"validation, {monitor}"
    for axes, title, labels, scale in (
        (losses, "loss", loss_curves, 1),
        (accuracies, percentages, in_percent, 100),
    ):
        for (key, label), colour in zip(labels.items(), (_BLUE, _ORANGE, _GREEN), strict=False):
            points = [(row[unit], scale * row[key]) for row in rows if key in row]  # not every epoch is validated
            xs, ys = [x for x, _ in points], [y for _, y in points]
            axes.plot(xs, ys, label=label, color=colour, marker="." if len(rows) < 40 else "")
        axes.set_title(title)
        axes.set_xlabel(unit)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    titles: dict[Axes, str] = {}
    validated = [row for row in rows if monitor in row]
    if validated:
        best = max(validated, key=lambda row: goodness(row, monitor))
        chosen = losses if monitor == "loss" else accuracies
        chosen.axvline(best[unit], color=_GRAY, linewidth=0.8, linestyle=":")
        value = f"{best['loss']:.4f}" if monitor == "loss" else f"{100 * best[monitor]:.2f} %"
        titles[chosen] = f"best: {value} in {unit} {best[unit]}"
    for axes in (losses, accuracies):
        axes.legend(title=titles.get(axes), frameon=False)
    _save(figure, path)


def draw_schedule(preview: Preview, path: Path) -> None:
    """Draw the learning rates of a run to come over its epochs, and below them the momentum if it moves."""
    rows = 1 if preview.momentum is None else 2
    figure = Figure(figsize=(8, 4 if rows == 1 else 6), layout="constrained")
    rates, *below = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    shades = matplotlib.colormaps["viridis"]
    for index, curve in enumerate(preview.curves):
        colour = _BLUE if len(preview.curves) == 1 else shades(index / len(preview.curves))
        label = f"{max(curve.rates):.3g}: {curve.parameters:,} parameters"
        rates.plot(preview.epochs, curve.rates, color=colour, label=label)
    rates.set_title(f"learning rate, {preview.scheduler}", parse_math=False)
    rates.set_ylim(bottom=0)
    if len(preview.curves) > 1:  # models with layer decay have twenty: next to them is room
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    for axes in below:
        axes.plot(preview.epochs, preview.momentum, color=_ORANGE)
        axes.set_title("momentum")
    for axes in (rates, *below):
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"epoch, of {preview.steps_per_epoch} steps")
    _save(figure, path)


def draw_confusion(confusion: Sequence[Sequence[int]], classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix, coloured by the share of each true class, with counts where they fit."""
    count, names = len(classes), [printable(name) for name in classes]
    side = min(max(4.0, 0.45 * count + 2.0), 40.0)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = [[n / max(1, sum(row)) for n in row] for row in confusion]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if count <= 100:
        axes.set_xticks(range(count), names, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(range(count), names, fontsize=8, parse_math=False)
    if count <= 30:
        for i, row in enumerate(confusion):
            for j, n in enumerate(row):
                colour = "white" if shares[i][j] > 0.5 else "black"
                if n:
                    axes.text(j, i, str(n), ha="center", va="center", color=colour, fontsize=7)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
