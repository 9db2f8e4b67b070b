"""torch's optimizers, with typed parameters.

An optimizer component gets `params`, torch's list of parameter groups, and returns a `torch.optim.Optimizer`.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

ParameterGroups = list[dict[str, Any]]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def parameter_groups(model: nn.Module) -> ParameterGroups:
    """Divide a model's trainable parameters: biases, norms and other 1-D ones get no weight decay.

    Decaying those does not regularise, it only rescales (He et al., Bag of Tricks, 2019, section 3.1).
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1]},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def sgd(
    params: ParameterGroups,
    *,
    lr: Rate = 0.1,
    momentum: Fraction = 0.9,
    weight_decay: Rate = 1e-4,
    nesterov: bool = True,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum."""
    nesterov = nesterov and momentum > 0  # torch refuses Nesterov without momentum, where it means nothing
    return torch.optim.SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)


def adamw(
    params: ParameterGroups,
    *,
    lr: Rate = 1e-3,
    betas: tuple[Fraction, Fraction] = (0.9, 0.999),
    eps: Annotated[float, Field(gt=0)] = 1e-8,
    weight_decay: Rate = 0.05,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""
    return torch.optim.AdamW(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
