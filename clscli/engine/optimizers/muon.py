"""Muon."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from clscli.engine.optimizers.fields import Betas, Fraction, ParameterGroups, Positive, Rate
from clscli.engine.optimizers.layerwise import next_steps, state_of, trained_parameters

# Of the quintic iteration: they pull singular values towards 1 as fast as possible rather than all the way
# (Jordan et al., 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(Optimizer):
    """Orthogonalise the steps of hidden layers' weights; the rest of the model is trained by AdamW.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024
    (https://kellerjordan.github.io/posts/muon). It takes the weights between the first layer and the head,
    kernels as matrices with a row for each output; depthwise kernels, norms, biases, position embeddings and
    tokens are AdamW's, which has `betas` and `eps`.

    One rate and one weight decay serve both: `adjust_lr = "match_rms_adamw"` scales Muon's steps to the size of
    AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), "original" by their shape only.
    """

    def __init__(
        self,
        params: ParameterGroups,
        hidden_weights: list[Tensor],
        *,
        lr: Rate = 1e-3,
        weight_decay: Rate = 0.05,  # adamw's: its own 0.1 is for language models
        momentum: Fraction = 0.95,
        nesterov: bool = True,
        ns_steps: Annotated[int, Field(ge=1, le=100)] = 5,
        adjust_lr: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
        betas: Betas = (0.9, 0.999),
        eps: Positive = 1e-8,
    ) -> None:
        self.nesterov = nesterov
        self.ns_steps = ns_steps
        self.adjust_lr = adjust_lr
        self.eps = eps
        hidden = {id(weight) for weight in hidden_weights}
        parts = [part for group in params for part in _divided(group, hidden, momentum, betas)]
        super().__init__(parts, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure: gradients are there
        for group, parameters, gradients in trained_parameters(self):
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            update = self._muon if group["algorithm"] == "muon" else self._adam
            update(group, parameters, gradients)

    def _muon(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        momenta = state_of(self, parameters, "momentum")
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"]) if self.nesterov else momenta
        for parameter, update in zip(parameters, updates, strict=True):
            matrix = update.flatten(1)
            scale = self._scale(*matrix.shape)
            step = orthogonalized(matrix, self.ns_steps).reshape(parameter.shape)
            parameter.add_(step.to(parameter.dtype), alpha=-group["lr"] * scale)

    def _scale(self, rows: int, columns: int) -> float:
        if self.adjust_lr == "original":
            return math.sqrt(max(1.0, rows / columns))
        return 0.2 * math.sqrt(max(rows, columns))

    def _adam(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        steps = next_steps(self, parameters)
        first, second = state_of(self, parameters, "exp_avg"), state_of(self, parameters, "exp_avg_sq")
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        scales = torch._foreach_div(second, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, self.eps)
        torch._foreach_addcdiv_(parameters, first, scales, [-group["lr"] / (1 - beta1**step) for step in steps])


def _divided(
    group: dict[str, Any], hidden: set[int], momentum: float, betas: tuple[float, float]
) -> list[dict[str, Any]]:
    """Divide a group into Muon's and AdamW's parameters; an empty part is left out."""
    muon = [p for p in group["params"] if id(p) in hidden]
    adam = [p for p in group["params"] if id(p) not in hidden]
    parts = [
        {**group, "params": muon, "algorithm": "muon", "momentum": momentum},
        {**group, "params": adam, "algorithm": "adamw", "betas": betas},
    ]
    return [part for part in parts if part["params"]]


def orthogonalized(matrix: Tensor, num_steps: int) -> Tensor:
    """Move a matrix's singular values near to 1 by Newton-Schulz iterations, in bfloat16 as published."""
    x = matrix.bfloat16()
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x  # the product below is then the smaller one
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(num_steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.T if is_tall else x
