"""Lion."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from clscli.engine.optimizers.fields import Betas, ParameterGroups, Rate
from clscli.engine.optimizers.layerwise import state_of, trained_parameters


class Lion(Optimizer):
    """Step by the sign of a momentum: half of Adam's memory, for rates three to ten times smaller.

    Chen et al., "Symbolic discovery of optimization algorithms", 2023. The weight decay is decoupled. As the
    paper advises, the default rate is a tenth of `adamw`'s and the weight decay ten times larger, so that their
    product is the same.
    """

    def __init__(
        self,
        params: ParameterGroups,
        *,
        lr: Rate = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: Rate = 0.5,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure: gradients are there
        for group, parameters, gradients in trained_parameters(self):
            lr, (beta1, beta2) = group["lr"], group["betas"]
            momenta = state_of(self, parameters, "momentum")
            signs = torch._foreach_lerp(momenta, gradients, 1 - beta1)
            torch._foreach_sign_(signs)
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
            torch._foreach_add_(parameters, signs, alpha=-lr)
            torch._foreach_lerp_(momenta, gradients, 1 - beta2)
