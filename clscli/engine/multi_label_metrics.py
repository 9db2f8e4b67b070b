"""Numbers about predictions where a picture may have several labels, or none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clscli.engine.distributed import ALONE, World
from clscli.engine.metrics import Evaluation, MacroMeans, divide, macro_mean

# A sigmoid of one half: as likely as not.
THRESHOLD = 0.5

# The numbers that a training log keeps.
SUMMARY = ("loss", "map", "macro_f1", "micro_f1")


@dataclass(frozen=True)
class LabelMetrics:
    """How well one label is recognised; a quotient without a denominator is 0."""

    name: str
    average_precision: float
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class MultiLabelEvaluation(MacroMeans):
    """The result of an evaluation with several labels a picture; fractions, not percent.

    Average precision is of the ranking by score. All others are of the labels that are given to a picture: those
    whose score, the sigmoid of the logit, is at least `threshold`.
    """

    samples: int
    loss: float
    threshold: float
    per_class: list[LabelMetrics]
    micro_precision: float  # of all labels given, to whichever picture
    micro_recall: float  # of all labels that there are
    micro_f1: float
    unreadable: list[tuple[str, str]]  # (path, reason); these are in no number above

    @property
    def classes(self) -> list[str]:
        """The names of the labels."""
        return [c.name for c in self.per_class]

    @property
    def map(self) -> float:
        """The mean of the average precision over the classes that occur."""
        return macro_mean(self.per_class, "average_precision")

    def summary(self) -> dict[str, float]:
        """Return the numbers that a training log keeps."""
        return {name: getattr(self, name) for name in SUMMARY}

    def as_json(self) -> dict[str, object]:
        """Return everything, as `clscli eval --json` prints it."""
        counted = ("precision", "recall", "f1")
        names = ["map", *(f"{mean}_{name}" for mean in ("macro", "micro") for name in counted)]
        return {
            "samples": self.samples,
            "loss": self.loss,
            "threshold": self.threshold,
            **{name: getattr(self, name) for name in names},
            "per_class": [
                {
                    "class": c.name,
                    "average_precision": c.average_precision,
                    "precision": c.precision,
                    "recall": c.recall,
                    "f1": c.f1,
                    "support": c.support,
                }
                for c in self.per_class
            ],
            "classes": self.classes,
            "unreadable": [{"path": path, "error": reason} for path, reason in self.unreadable],
        }


AnyEvaluation = Evaluation | MultiLabelEvaluation


class Scores:
    """The logits of all samples, on the CPU, as a ranking needs them: 5 bytes for each sample and class."""

    def __init__(self, num_classes: int, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self.logits = [torch.empty(0, num_classes)]
        self.labels = [torch.empty(0, num_classes, dtype=torch.uint8)]
        self.loss = torch.zeros((), dtype=torch.float64)

    def add(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: logits and targets `(B, K)`, and the loss of the batch, as a sum over it."""
        self.logits.append(logits.float().cpu())
        self.labels.append((targets > 0).to("cpu", torch.uint8))
        self.loss += loss.cpu()

    def result(
        self, classes: list[str], unreadable: list[tuple[str, str]], world: World = ALONE
    ) -> MultiLabelEvaluation:
        """Bring the samples of all processes together, and rank and count."""
        logits = world.gather_rows(torch.cat(self.logits))
        labels = world.gather_rows(torch.cat(self.labels)).bool()
        given = logits.sigmoid() >= self.threshold
        hits, num_given, support = (flags.sum(0).double() for flags in (given & labels, given, labels))
        columns = (
            *(divide(hits, num_given), divide(hits, support), divide(2 * hits, num_given + support)),
            torch.tensor([average_precision(*column) for column in zip(logits.T, labels.T, strict=True)]),
        )
        rows = zip(classes, support.tolist(), *(column.tolist() for column in columns), strict=True)
        total_hits, total_given, total = hits.sum(), num_given.sum(), support.sum()
        return MultiLabelEvaluation(
            samples=len(logits),
            loss=world.total(self.loss).item() / max(1, len(logits)),
            threshold=self.threshold,
            per_class=[LabelMetrics(name, ap, p, r, f1, int(n)) for name, n, p, r, f1, ap in rows],
            micro_precision=divide(total_hits, total_given).item(),
            micro_recall=divide(total_hits, total).item(),
            micro_f1=divide(2 * total_hits, total_given + total).item(),
            unreadable=unreadable,
        )


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Return the mean, over the samples that have a label, of the precision when all down to that one are taken.

    Scores are `float (N,)`, labels `bool (N,)`. Samples of one score are taken together, so that their order is of
    no importance: as scikit-learn's `average_precision_score` has it, without interpolation.
    """
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], labels[order].cumsum(0)
    is_last = torch.ones_like(labels)  # of its score
    is_last[:-1] = ranked[1:] != ranked[:-1]
    places = is_last.nonzero().flatten()
    hits = hits[places].double()
    gained = hits.diff(prepend=hits.new_zeros(1))
    return divide((gained * hits / (places + 1)).sum(), gained.sum()).item()
