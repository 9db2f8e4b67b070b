"""Losses that measure how far scores are from their targets."""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from clscli.models.losses.arithmetic import at_least_float32, dense_target, reduce
from clscli.models.losses.contract import LabelMode, NonNegative, Reduction


class _Distance(nn.Module, ABC):
    """Measure scores minus targets; the distance is all that the losses below differ in."""

    def __init__(
        self,
        *,
        scores: Literal["probabilities", "logits"] = "probabilities",
        sum_classes: bool = False,
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.scores = scores
        self.label_mode: LabelMode | None = "single" if scores == "probabilities" else None
        self.sum_classes = sum_classes
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        scores = logits.softmax(1) if self.scores == "probabilities" else logits
        distance = self.distance(scores - dense_target(target, logits))
        return self.loss_weight * reduce(distance, self.reduction, sum_classes=self.sum_classes)

    @abstractmethod
    def distance(self, difference: Tensor) -> Tensor:
        """Measure every element."""


class L1(_Distance):
    """Absolute difference between scores and targets.

    `scores` are the probabilities of a softmax, or the logits as they are. The target is a class index (B,),
    which becomes one-hot, or a value for each class (B, K). The classes of a sample are averaged, or summed with
    `sum_classes`. On probabilities it bears wrong labels better than cross entropy: Ghosh, Kumar and Sastry,
    "Robust Loss Functions under Label Noise for Deep Neural Networks", 2017 (https://arxiv.org/abs/1712.09482).
    """

    def distance(self, difference: Tensor) -> Tensor:
        return difference.abs()


class MSE(_Distance):
    """Squared difference between scores and targets.

    `scores` are the probabilities of a softmax, or the logits as they are. The target is a class index (B,),
    which becomes one-hot, or a value for each class (B, K). The classes of a sample are averaged, or summed with
    `sum_classes`: on probabilities that is the Brier score.
    """

    def distance(self, difference: Tensor) -> Tensor:
        return difference.square()
