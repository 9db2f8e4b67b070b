"""Pictures of results, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure

from clscli.files import atomic_write
from clscli.reports.text import printable

_BLUE, _ORANGE, _GRAY = "#0072b2", "#d55e00", "#777777"  # told apart by colour-blind eyes too (Okabe and Ito)


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw loss and top-1 of training and validation over the epochs of a run."""
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for axes, title, keys, scale in (
        (losses, "loss", ("train_loss", "loss"), 1),
        (accuracies, "top-1 (%)", ("train_top1", "top1"), 100),
    ):
        for key, label, colour in zip(keys, ("training", "validation"), (_BLUE, _ORANGE), strict=True):
            values = [scale * row[key] for row in rows]
            axes.plot(epochs, values, label=label, color=colour, marker="." if len(rows) < 40 else "")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    best = max(rows, key=lambda row: (row["top1"], -row["loss"]))
    accuracies.axvline(best["epoch"], color=_GRAY, linewidth=0.8, linestyle=":")
    accuracies.legend(title=f"best: {100 * best['top1']:.2f} % in epoch {best['epoch']}", frameon=False)
    losses.legend(frameon=False)
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
