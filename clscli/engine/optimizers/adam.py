"""Adam and its variants: steps by the first moment of the gradients, scaled by a second one."""

from __future__ import annotations

from torch import optim

from clscli.engine.optimizers.fields import Betas, ParameterGroups, Positive, Rate
from clscli.engine.optimizers.fused import fused


def adam(
    params: ParameterGroups,
    *,
    lr: Rate = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: Rate = 0.0,
    amsgrad: bool = False,
) -> optim.Optimizer:
    """Adam; its weight decay is part of the gradient, for a decoupled one take `adamw`.

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015; `amsgrad`: Reddi et al., "On the
    convergence of Adam and beyond", 2018.
    """
    return fused(optim.Adam, params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)


def adamw(
    params: ParameterGroups,
    *,
    lr: Rate = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: Rate = 0.05,
    amsgrad: bool = False,
) -> optim.Optimizer:
    """Adam with decoupled weight decay.

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019. The weight decay is that of Touvron
    et al., "Training data-efficient image transformers", 2021.
    """
    return fused(optim.AdamW, params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)


def nadam(
    params: ParameterGroups,
    *,
    lr: Rate = 2e-3,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: Rate = 0.0,
    momentum_decay: Rate = 4e-3,
    decoupled_weight_decay: bool = False,
) -> optim.Optimizer:
    """Adam with Nesterov momentum.

    Dozat, "Incorporating Nesterov momentum into Adam", 2016. `momentum_decay` lets the momentum rise with the
    steps; `decoupled_weight_decay` decays as `adamw` does.
    """
    return optim.NAdam(
        params,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        momentum_decay=momentum_decay,
        decoupled_weight_decay=decoupled_weight_decay,
    )


def radam(
    params: ParameterGroups,
    *,
    lr: Rate = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: Rate = 0.0,
    decoupled_weight_decay: bool = False,
) -> optim.Optimizer:
    """Adam that scales its steps only once the second moment can be trusted, in place of a warmup.

    Liu et al., "On the variance of the adaptive learning rate and beyond", 2020. `decoupled_weight_decay`
    decays as `adamw` does.
    """
    return optim.RAdam(
        params,
        lr=lr,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        decoupled_weight_decay=decoupled_weight_decay,
    )


def adamax(
    params: ParameterGroups,
    *,
    lr: Rate = 2e-3,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: Rate = 0.0,
) -> optim.Optimizer:
    """Adam with the largest recent gradient in place of the second moment (Kingma and Ba, 2015, section 7)."""
    return optim.Adamax(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
