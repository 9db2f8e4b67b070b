"""LARS."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from clscli.engine.optimizers.fields import Fraction, ParameterGroups, Positive, Rate
from clscli.engine.optimizers.layerwise import ratios, state_of, trained_parameters


class Lars(Optimizer):
    """Momentum SGD with each layer's step in proportion to the size of its weights, for large batches.

    You et al., "Large batch training of convolutional networks", 2017. A layer's rate is `lr` times
    `trust_coefficient` times the norm of its weights over that of its gradient. Parameters without weight decay
    (biases, norms) take the step of SGD. As in torch's SGD, and unlike in the paper, a change of `lr` also
    scales what the momentum holds.
    """

    def __init__(
        self,
        params: ParameterGroups,
        *,
        lr: Rate = 1.0,
        momentum: Fraction = 0.9,
        weight_decay: Rate = 1e-4,
        nesterov: bool = False,
        trust_coefficient: Positive = 1e-3,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure: gradients are there
        for group, parameters, gradients in trained_parameters(self):
            decay, momentum = group["weight_decay"], group["momentum"]
            updates = gradients
            if decay > 0:
                sizes = list(torch._foreach_norm(parameters))
                lengths = list(torch._foreach_add(torch._foreach_norm(gradients), sizes, alpha=decay))
                updates = list(torch._foreach_add(gradients, parameters, alpha=decay))
                trusts = torch._foreach_mul(sizes, group["trust_coefficient"])
                torch._foreach_mul_(updates, ratios(list(trusts), lengths))
            if momentum > 0:
                momenta = state_of(self, parameters, "momentum")
                torch._foreach_mul_(momenta, momentum)
                torch._foreach_add_(momenta, updates)
                look_ahead = group["nesterov"]
                updates = list(torch._foreach_add(updates, momenta, alpha=momentum)) if look_ahead else momenta
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])
