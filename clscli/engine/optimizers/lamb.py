"""LAMB."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from clscli.engine.optimizers.fields import Betas, ParameterGroups, Positive, Rate
from clscli.engine.optimizers.layerwise import next_steps, ratios, state_of, trained_parameters


class Lamb(Optimizer):
    """Adam with each layer's step in proportion to the size of its weights, for large batches.

    You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", 2020. Parameters
    without weight decay (biases, norms) take Adam's step as it is, as in the authors' code. The gradients are
    not clipped here: the published recipes go with `train.clip_grad_norm = 1.0`.
    """

    def __init__(
        self,
        params: ParameterGroups,
        *,
        lr: Rate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-6,
        weight_decay: Rate = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure: gradients are there
        for group, parameters, gradients in trained_parameters(self):
            beta1, beta2 = group["betas"]
            steps = next_steps(self, parameters)
            first = state_of(self, parameters, "exp_avg")
            second = state_of(self, parameters, "exp_avg_sq")
            torch._foreach_lerp_(first, gradients, 1 - beta1)
            torch._foreach_mul_(second, beta2)
            torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)

            scales = torch._foreach_div(second, [1 - beta2**step for step in steps])
            torch._foreach_sqrt_(scales)
            torch._foreach_add_(scales, group["eps"])
            updates = torch._foreach_div(first, [1 - beta1**step for step in steps])
            torch._foreach_div_(updates, scales)
            if group["weight_decay"] > 0:
                torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
                sizes, lengths = torch._foreach_norm(parameters), torch._foreach_norm(updates)
                torch._foreach_mul_(updates, ratios(list(sizes), list(lengths)))
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])
