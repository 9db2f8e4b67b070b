"""The steps that most losses share: precision, targets, and the way to a scalar."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clscli.models.losses.contract import Reduction


def at_least_float32(logits: Tensor) -> Tensor:
    """Give up 16 bits: they cannot hold a sum of exponentials."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def dense_target(target: Tensor, logits: Tensor) -> Tensor:
    """Return one value for each class, in the precision of the logits; an index becomes one-hot."""
    if not target.is_floating_point():
        target = F.one_hot(target, logits.shape[1])
    return target.to(logits.dtype)


def reduce(values: Tensor, reduction: Reduction, *, sum_classes: bool) -> Tensor:
    """Turn values `(B, K)` into a scalar: over the classes a sum or a mean, then over the batch."""
    per_sample = values.sum(1) if sum_classes else values.mean(1)
    return per_sample.sum() if reduction == "sum" else per_sample.mean()
