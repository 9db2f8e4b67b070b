"""Focal loss: the better a sample is classified already, the less it counts."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.losses.arithmetic import at_least_float32, dense_target, reduce
from clscli.models.losses.class_weights import ClassWeights, balanced_weights, choose_weights, total_weight
from clscli.models.losses.contract import LabelMode, NonNegative, Reduction


class SigmoidFocal(nn.Module):
    """Focal loss with a sigmoid for each class: binary cross entropy that fades for what is well classified.

    Lin, Goyal, Girshick, He and Dollár, "Focal Loss for Dense Object Detection", 2017
    (https://arxiv.org/abs/1708.02002). `gamma` is how fast it fades, 0 not at all; `alpha` is the weight of the
    positives, 1 - `alpha` that of the negatives, and "none" leaves both at 1. The target is a class index (B,),
    which becomes one-hot, or a value for each class (B, K). The classes of a sample are summed, as published, or
    averaged with `sum_classes = false`.
    """

    def __init__(
        self,
        *,
        gamma: NonNegative = 2.0,
        alpha: Literal["none"] | Annotated[float, Field(ge=0, le=1)] = 0.25,
        sum_classes: bool = True,
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha
        self.sum_classes = sum_classes
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        target = dense_target(target, logits)
        # sigmoid(-x) rather than 1 - sigmoid(x), which loses all digits where the class is certain.
        missing = torch.sigmoid(-logits) * target + torch.sigmoid(logits) * (1 - target)
        values = fade(missing, self.gamma) * F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.alpha != "none":
            values = values * (self.alpha * target + (1 - self.alpha) * (1 - target))
        return self.loss_weight * reduce(values, self.reduction, sum_classes=self.sum_classes)


class SoftmaxFocal(nn.Module):
    """Focal loss with a softmax over the classes: cross entropy that fades for what is well classified.

    The form for one label of Lin, Goyal, Girshick, He and Dollár, "Focal Loss for Dense Object Detection", 2017
    (https://arxiv.org/abs/1708.02002): -(1 - p)^gamma log p of the target's class, `cross_entropy` for
    `gamma = 0`. A target that is a distribution (B, K) takes that of every class by its share. `class_weights`
    stand for the paper's alpha, and are those of `cross_entropy`.
    """

    label_mode: LabelMode = "single"
    weight: Tensor | None

    def __init__(
        self,
        class_counts: tuple[int, ...],
        *,
        gamma: NonNegative = 2.0,
        class_weights: ClassWeights = "none",
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.gamma = gamma
        self.reduction = reduction
        self.loss_weight = loss_weight
        weight = choose_weights("class_weights", class_weights, class_counts, balanced_weights)
        self.register_buffer("weight", weight, persistent=False)  # follows from the spec and the data

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        target = dense_target(target, logits)
        weight = None if self.weight is None else self.weight.to(logits.dtype)
        log_p = logits.log_softmax(1)
        values = -target * fade(-log_p.expm1(), self.gamma) * log_p
        if weight is not None:
            values = values * weight
        loss = values.sum()
        if self.reduction == "mean":
            loss = loss / total_weight(target, weight)
        return self.loss_weight * loss


def fade(missing: Tensor, gamma: float) -> Tensor:
    """Return `missing ** gamma`, with a gradient also where nothing is missing and gamma is below 1."""
    return missing.clamp(min=torch.finfo(missing.dtype).tiny) ** gamma
