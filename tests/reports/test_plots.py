"""The curves of a run: what is drawn, and what is called the best."""

import pytest

from clscli.reports import plots

ROWS = [
    {"epoch": 1, "train_loss": 2.0, "train_top1": 0.5, "loss": 1.5, "top1": 0.75, "macro_f1": 0.25},
    {"epoch": 2, "train_loss": 1.0, "train_top1": 0.75, "loss": 1.25, "top1": 0.625, "macro_f1": 0.5},
    {"epoch": 3, "train_loss": 0.5, "train_top1": 1.0},
]
TOP1 = {"training": ([1, 2, 3], [50, 75, 100]), "validation": ([1, 2], [75, 62.5])}


@pytest.fixture
def panels(monkeypatch, tmp_path):
    """Draw the curves of ROWS; return of both panels title, curves, best epoch and title of the legend."""

    def draw(monitor):
        figures = []
        monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
        plots.draw_curves(ROWS, tmp_path / "curves.png", monitor=monitor)
        return [describe(axes) for axes in figures[0].axes]

    def describe(axes):
        lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
        best = [xs[0] for label, (xs, _) in lines.items() if label.startswith("_")]
        curves = {label: points for label, points in lines.items() if not label.startswith("_")}
        return axes.get_title(), curves, best, axes.get_legend().get_title().get_text()

    return draw


def test_top1_is_drawn_with_its_best(panels):
    losses, accuracies = panels("top1")
    assert losses == ("loss", {"training": ([1, 2, 3], [2, 1, 0.5]), "validation": ([1, 2], [1.5, 1.25])}, [], "")
    assert accuracies == ("top-1 (%)", TOP1, [1], "best: 75.00 % in epoch 1")


def test_the_best_loss_is_marked_where_the_loss_is(panels):
    losses, accuracies = panels("loss")
    assert losses[2:] == ([2], "best: 1.2500 in epoch 2")
    assert accuracies == ("top-1 (%)", TOP1, [], "")


def test_another_metric_is_drawn_beside_top1(panels):
    title, curves, *best = panels("macro_f1")[1]
    assert title == "top-1 and macro_f1 (%)"
    assert curves == {f"{name}, top-1": points for name, points in TOP1.items()} | {
        "validation, macro_f1": ([1, 2], [25, 50])
    }
    assert best == [[2], "best: 50.00 % in epoch 2"]
