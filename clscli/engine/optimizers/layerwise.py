"""What optimizers of our own share: the parameters to update, and the trust in a layer's step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def trained_parameters(optimizer: Optimizer) -> Iterator[tuple[dict[str, Any], list[Tensor], list[Tensor]]]:
    """Yield each group with its parameters that have gradients, and these; groups without any are left out.

    A layer that is frozen for the first epochs has none until then.
    """
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None]
        if parameters:
            yield group, parameters, [p.grad for p in parameters]


def state_of(optimizer: Optimizer, parameters: list[Tensor], name: str) -> list[Tensor]:
    """Return a state of each parameter, of its shape; zeros at first."""
    states = [optimizer.state[parameter] for parameter in parameters]
    for state, parameter in zip(states, parameters, strict=True):
        if name not in state:
            state[name] = torch.zeros_like(parameter)
    return [state[name] for state in states]


def next_steps(optimizer: Optimizer, parameters: list[Tensor]) -> list[int]:
    """Count one more step of each parameter; return the counts, from 1."""
    for parameter in parameters:
        state = optimizer.state[parameter]
        state["step"] = state.get("step", 0) + 1
    return [optimizer.state[parameter]["step"] for parameter in parameters]


def ratios(numerators: list[Tensor], denominators: list[Tensor]) -> list[Tensor]:
    """Divide norms by norms on the device; 1 where either is zero, as for a layer that starts at zero."""
    one = torch.ones_like(numerators[0])
    pairs = zip(numerators, denominators, strict=True)
    return [torch.where((n > 0) & (d > 0), n / d, one) for n, d in pairs]
