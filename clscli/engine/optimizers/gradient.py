"""Optimizers that follow the gradient itself, or its sign."""

from __future__ import annotations

from torch import optim

from clscli.engine.optimizers.fields import Fraction, ParameterGroups, Positive, Rate
from clscli.engine.optimizers.fused import fused


def sgd(
    params: ParameterGroups,
    *,
    lr: Rate = 0.1,
    momentum: Fraction = 0.9,
    weight_decay: Rate = 1e-4,
    nesterov: bool = True,
) -> optim.Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum.

    Rate, momentum and weight decay are those of He et al., "Deep residual learning for image recognition",
    2015, for batches of 256.
    """
    nesterov = nesterov and momentum > 0  # torch refuses Nesterov without momentum, where it means nothing
    return fused(optim.SGD, params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)


def asgd(
    params: ParameterGroups,
    *,
    lr: Rate = 0.01,
    lambd: Rate = 1e-4,
    alpha: Rate = 0.75,
    t0: Rate = 1e6,
    weight_decay: Rate = 0.0,
) -> optim.Optimizer:
    """Stochastic gradient descent whose rate falls as a power of the step.

    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992. The rate falls with
    exponent `alpha`, by `lambd` per step. The averaged weights, from step `t0` on, are kept in the optimizer's
    state and not used for validation.
    """
    return optim.ASGD(params, lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay)


def rprop(
    params: ParameterGroups,
    *,
    lr: Rate = 0.01,
    etas: tuple[Fraction, Positive] = (0.5, 1.2),
    step_sizes: tuple[Rate, Positive] = (1e-6, 50.0),
) -> optim.Optimizer:
    """Follow the sign of the gradient, with a step size of each weight's own: for one batch of all pictures.

    Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm",
    1993. `etas` shrink and grow the step sizes, within the limits `step_sizes`. They start at `lr`; after that
    no schedule changes them. With batches that differ from step to step, signs are too noisy for it.
    """
    return optim.Rprop(params, lr=lr, etas=etas, step_sizes=step_sizes)
