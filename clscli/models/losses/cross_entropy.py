"""Cross entropy."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F


class CrossEntropy(nn.Module):
    """Cross entropy with a softmax over the classes, the usual loss.

    The target is a class index (B,) or a distribution over the classes (B, K), as mixup makes it.
    `label_smoothing` moves that share of every target to all classes alike (Szegedy et al., 2015).
    `class_weights` is one weight per class, or "balanced": samples / (classes * samples of the class), as
    scikit-learn defines it. The mean is over the weights of the batch's targets: with PyTorch that is so
    for indices, but not for distributions, where it would make a one-hot target another loss than its
    index.
    """

    weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        class_counts: tuple[int, ...],
        *,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(gt=0)]] = "none",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.loss_weight = loss_weight
        weights = balanced_weights(class_counts) if class_weights == "balanced" else class_weights
        if weights == "none":
            weight = None
        elif len(weights) == num_classes:
            weight = torch.tensor(weights, dtype=torch.float32)
        else:
            raise ValueError(
                f"class_weights needs one weight for each of the {num_classes} classes, got {len(weights)}"
            )
        # Not persistent: it follows from the spec and the data, a checkpoint must not bring back another one.
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)  # 16 bits cannot hold a sum of exponentials
        weight = None if self.weight is None else self.weight.to(dtype)
        if target.is_floating_point():
            target = target.to(dtype)
        loss = F.cross_entropy(
            logits.to(dtype), target, weight, reduction="sum", label_smoothing=self.label_smoothing
        )
        return self.loss_weight * loss / total_weight(target, weight)


def total_weight(target: Tensor, weight: Tensor | None) -> Tensor | int:
    """Return the sum over the batch of each target's weight, 1 where classes have none."""
    if weight is None:
        return len(target)
    per_sample = target @ weight if target.is_floating_point() else weight[target]
    return per_sample.sum()


def balanced_weights(class_counts: tuple[int, ...]) -> list[float]:
    """Weight each class so that all of them have the same share in the loss of an epoch."""
    empty = [index for index, count in enumerate(class_counts) if count == 0]
    if empty:
        raise ValueError(
            f'class_weights = "balanced" needs training samples of every class, but there are none of class '
            f"{', '.join(map(str, empty))} (counted from 0)"
        )
    return [sum(class_counts) / (len(class_counts) * count) for count in class_counts]
