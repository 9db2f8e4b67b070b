"""Optimizers that scale the gradient by its own past size, and keep no first moment unless asked to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import optim

from clscli.engine.optimizers.fields import Fraction, ParameterGroups, Positive, Rate
from clscli.engine.optimizers.fused import fused


def adagrad(
    params: ParameterGroups,
    *,
    lr: Rate = 0.01,
    lr_decay: Rate = 0.0,
    weight_decay: Rate = 0.0,
    initial_accumulator_value: Rate = 0.0,
    eps: Positive = 1e-10,
) -> optim.Optimizer:
    """Scale each weight's step by the sum of all its squared gradients.

    Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization", 2011.
    """
    return fused(
        optim.Adagrad,
        params,
        lr=lr,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )


def adadelta(
    params: ParameterGroups,
    *,
    lr: Rate = 1.0,
    rho: Fraction = 0.9,
    eps: Positive = 1e-6,
    weight_decay: Rate = 0.0,
) -> optim.Optimizer:
    """Scale each weight's step by its recent steps over its recent gradients (Zeiler, "ADADELTA", 2012)."""
    return optim.Adadelta(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)


def rmsprop(
    params: ParameterGroups,
    *,
    lr: Rate = 0.01,
    alpha: Fraction = 0.99,
    eps: Positive = 1e-8,
    weight_decay: Rate = 0.0,
    momentum: Fraction = 0.0,
    centered: bool = False,
) -> optim.Optimizer:
    """Scale each weight's step by the root of its recent squared gradients.

    Tieleman and Hinton, "Lecture 6.5: RMSprop", 2012. `centered` takes their variance instead: Graves,
    "Generating sequences with recurrent neural networks", 2013.
    """
    return optim.RMSprop(
        params,
        lr=lr,
        alpha=alpha,
        eps=eps,
        weight_decay=weight_decay,
        momentum=momentum,
        centered=centered,
    )


def adafactor(
    params: ParameterGroups,
    *,
    lr: Rate = 0.01,
    beta2_decay: Annotated[float, Field(le=0, allow_inf_nan=False)] = -0.8,
    eps1: Positive | None = None,
    eps2: Positive = 1e-3,
    d: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0,
    weight_decay: Rate = 0.0,
) -> optim.Optimizer:
    """Scale steps by factored second moments: one number for each row and column of a matrix, to save memory.

    Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018. `eps1` is added to
    the squared gradients (left out: the precision of their type), `eps2` is the least size that weights are
    taken to have, and `d` limits the size of a step.
    """
    return optim.Adafactor(
        params, lr=lr, beta2_decay=beta2_decay, eps=(eps1, eps2), d=d, weight_decay=weight_decay
    )
