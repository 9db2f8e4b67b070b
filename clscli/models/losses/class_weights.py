"""Weights of classes: listed in the spec, or balanced by the training samples that each class has."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from clscli.models.fields import PositiveFloat

ClassWeights = Literal["none", "balanced"] | list[PositiveFloat]


def choose_weights(
    parameter: str,
    choice: ClassWeights,
    class_counts: tuple[int, ...],
    balance: Callable[[tuple[int, ...], int], list[float]],
    num_samples: int | None = None,
) -> Tensor | None:
    """Return one weight for each class, or None for "none"; `parameter` is its name in messages."""
    if choice == "none":
        return None
    if choice == "balanced":
        empty = [index for index, count in enumerate(class_counts) if count == 0]
        if empty:
            raise ValueError(
                f'{parameter} = "balanced" needs training samples of every class, but there are none of class '
                f"{', '.join(map(str, empty))} (counted from 0)"
            )
        choice = balance(class_counts, sum(class_counts) if num_samples is None else num_samples)
    if len(choice) != len(class_counts):
        raise ValueError(
            f"{parameter} needs one weight for each of the {len(class_counts)} classes, got {len(choice)}"
        )
    return torch.tensor(choice, dtype=torch.float32)


def balanced_weights(class_counts: tuple[int, ...], num_samples: int) -> list[float]:
    """Weight each class so that all of them have the same share in the loss of an epoch."""
    return [num_samples / (len(class_counts) * count) for count in class_counts]


def positive_weights(class_counts: tuple[int, ...], num_samples: int) -> list[float]:
    """Weight the positives of each class so that they have the same share in its loss as the negatives.

    Of a class that every sample has there are no negatives: its positives then weigh as much as one would.
    """
    return [max(1, num_samples - count) / count for count in class_counts]


def total_weight(target: Tensor, weight: Tensor | None) -> Tensor | int:
    """Return the sum over the batch of each target's weight, 1 where classes have none."""
    if weight is None:
        return len(target)
    if target.is_floating_point():
        return (target * weight).sum()  # not a product of matrices, which autocast would compute in 16 bits
    return weight[target].sum()
