"""Numbers about predictions, all of them from sums that do not grow with the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from clscli.engine.distributed import ALONE, World
from clscli.models.losses.contract import Loss, reduction_of

# The numbers that a training log keeps.
SUMMARY = ("loss", "top1", "top5", "macro_f1", "balanced_accuracy")


@dataclass(frozen=True)
class ClassMetrics:
    """How well one class is recognised; a quotient without a denominator is 0."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


class _PerClass(Protocol):
    @property
    def per_class(self) -> Sequence[Any]: ...


def macro_mean(per_class: Sequence[Any], name: str) -> float:
    """Return the mean of one of the classes' numbers over those that occur."""
    values = [getattr(c, name) for c in per_class if c.support]
    return sum(values) / len(values) if values else 0.0


class MacroMeans:
    """The means over the classes that occur, for an evaluation that has `per_class`."""

    @property
    def macro_precision(self: _PerClass) -> float:
        """The mean of the precision over the classes that occur."""
        return macro_mean(self.per_class, "precision")

    @property
    def macro_recall(self: _PerClass) -> float:
        """The mean of the recall over the classes that occur."""
        return macro_mean(self.per_class, "recall")

    @property
    def macro_f1(self: _PerClass) -> float:
        """The mean of F1 over the classes that occur."""
        return macro_mean(self.per_class, "f1")


@dataclass(frozen=True)
class Evaluation(MacroMeans):
    """The result of an evaluation; fractions, not percent."""

    samples: int
    loss: float
    top1: float
    top5: float  # top-k for as many classes as there are, if fewer than 5
    classes: list[str]
    confusion: list[list[int]]  # rows: true class, columns: predicted class
    unreadable: list[tuple[str, str]]  # (path, reason); these are in no number above

    @property
    def k(self) -> int:
        """What `top5` really counts: 5, or the number of classes if that is smaller."""
        return min(5, len(self.classes))

    @property
    def per_class(self) -> list[ClassMetrics]:
        """Precision, recall and F1 of every class."""
        table = torch.tensor(self.confusion, dtype=torch.float64)
        hits, support, predicted = table.diagonal(), table.sum(1), table.sum(0)
        precision, recall = divide(hits, predicted), divide(hits, support)
        f1 = divide(2 * hits, support + predicted)
        columns = zip(
            self.classes, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True
        )
        return [ClassMetrics(name, p, r, f, int(n)) for name, p, r, f, n in columns]

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that occur: top-1 as if all classes were equally frequent."""
        return self.macro_recall

    def summary(self) -> dict[str, float]:
        """Return the numbers that a training log keeps."""
        return {name: getattr(self, name) for name in SUMMARY}

    def as_json(self) -> dict[str, object]:
        """Return everything, as `clscli eval --json` prints it."""
        return {
            "samples": self.samples,
            "loss": self.loss,
            "top1": self.top1,
            "top5": self.top5,
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "balanced_accuracy": self.balanced_accuracy,
            "per_class": [
                {
                    "class": c.name,
                    "precision": c.precision,
                    "recall": c.recall,
                    "f1": c.f1,
                    "support": c.support,
                }
                for c in self.per_class
            ],
            "confusion": self.confusion,
            "classes": self.classes,
            "unreadable": [{"path": path, "error": reason} for path, reason in self.unreadable],
        }


class Totals:
    """Sums over batches, on the device: nothing is copied to the host until `result` asks."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.k = min(5, num_classes)
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        self.in_top_k = torch.zeros((), dtype=torch.int64, device=device)
        # MPS has no float64; a sum of batch losses in float32 is exact enough there.
        self.loss = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)

    def add(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: logits `(B, K)`, targets `(B,)`, and the loss of the batch, as a sum over it."""
        top = logits.topk(self.k, dim=1).indices
        flat = targets * self.confusion.shape[0] + top[:, 0]
        self.confusion.view(-1).scatter_add_(0, flat, torch.ones_like(flat))
        self.in_top_k += (top == targets[:, None]).any(1).sum()
        self.loss += loss.to(self.loss.dtype)

    def result(self, classes: list[str], unreadable: list[tuple[str, str]], world: World = ALONE) -> Evaluation:
        """Copy the sums, of all processes, to the host and divide."""
        confusion = world.total(self.confusion).cpu()
        samples = int(confusion.sum())
        return Evaluation(
            samples,
            loss=world.total(self.loss).item() / max(1, samples),
            top1=int(confusion.diagonal().sum()) / max(1, samples),
            top5=int(world.total(self.in_top_k)) / max(1, samples),
            classes=classes,
            confusion=confusion.tolist(),
            unreadable=unreadable,
        )


def batch_total(criterion: Loss, loss: Tensor, num_samples: int) -> Tensor:
    """Return the sum over a batch that a criterion's value for it stands for."""
    return loss if reduction_of(criterion) == "sum" else loss * num_samples


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide counts; a quotient without a denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator.clamp(min=1), torch.zeros(()))
