"""One label a picture, or several: what of a spec is for only one of the two is refused before the run."""

from __future__ import annotations

from collections.abc import Iterator

from clscli.data.split import View
from clscli.engine.metrics import SUMMARY
from clscli.engine.multi_label_metrics import SUMMARY as MULTI_LABEL_SUMMARY
from clscli.errors import SpecError
from clscli.models.classifier import Classifier
from clscli.models.losses.contract import Loss
from clscli.models.losses.total import TotalLoss
from clscli.spec import ResolvedSpec
from clscli.toml import Path, dotted

# What to write instead, for several labels and for one.
_HEADS = {"multi": ("multi_label_linear", "linear"), "single": ("linear",)}
_LOSSES = {"multi": ("binary_cross_entropy", "asymmetric", "focal"), "single": ("cross_entropy",)}


def check_label_mode(spec: ResolvedSpec, train: View, model: Classifier, loss: Loss) -> None:
    """Raise SpecError for a head, a loss or a metric that the labels of the pictures do not fit."""
    mode = "multi" if train.multi_label else "single"
    problems = [spec.problem(path, message) for path, message in _found(spec, mode, model, loss)]
    if problems:
        raise SpecError(problems)


def _found(spec: ResolvedSpec, mode: str, model: Classifier, loss: Loss) -> Iterator[tuple[Path, str]]:
    losses = loss.losses if isinstance(loss, TotalLoss) else [loss]
    parts = [
        (spec.one("model", "head"), model.head, _HEADS),
        *((bound, one, _LOSSES) for bound, one in zip(spec.many("model", "loss"), losses, strict=True)),
    ]
    several = mode == "multi"
    other, own = ("one label", "several labels") if several else ("several labels", "one label")
    has = f"the pictures have {own} each"
    for bound, part, known in parts:
        if getattr(part, "label_mode", None) in (None, mode):
            continue
        advice = f"write {dotted(bound.path[:2])} = {{ type = {_choice(known[mode])} }}"
        if not several:
            advice += ", or give the data several labels, such as a filelist's labels_column"
        yield bound.path, f"{bound.label} is for {other}, and {has} -- {advice}"
    metrics = MULTI_LABEL_SUMMARY if several else SUMMARY
    for path, monitor in _monitors(spec):
        if monitor not in metrics:
            yield path, f"{monitor!r} is not measured where {has} -- there are: {', '.join(metrics)}"


def _choice(names: tuple[str, ...]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _monitors(spec: ResolvedSpec) -> Iterator[tuple[Path, str]]:
    """Yield the metrics that the run, its scheduler and its hooks look at, and where they are named."""
    yield ("train", "monitor"), spec.spec.train.monitor
    for bound in (spec.one("scheduler"), *spec.many("hooks")):
        monitor = bound.kwargs.get("monitor")
        if bound.component.is_core and isinstance(monitor, str):
            yield (*bound.path, "monitor"), monitor
