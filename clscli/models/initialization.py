"""How the weights of a backbone, neck or head are drawn, where its `init` in a spec asks for another way.

The builder calls `initialize` after a component has drawn its weights in its own way, and before pretrained
weights are loaded over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clscli.models.fields import PositiveFloat

# Layers whose weights are matrices or kernels: those have a number of inputs and outputs (a fan).
FanLayer = Literal["conv1d", "conv2d", "conv3d", "linear"]
Layer = Literal["conv1d", "conv2d", "conv3d", "linear", "embedding", "batch_norm", "group_norm", "layer_norm"]
FanLayers = Annotated[tuple[FanLayer, ...], Field(min_length=1)]
Layers = Annotated[tuple[Layer, ...], Field(min_length=1)]

_TYPES: dict[Layer, tuple[type[nn.Module], ...]] = {
    "conv1d": (nn.Conv1d,),
    "conv2d": (nn.Conv2d,),
    "conv3d": (nn.Conv3d,),
    "linear": (nn.Linear, nn.MultiheadAttention),  # the latter for its three projections in one matrix
    "embedding": (nn.Embedding,),
    "batch_norm": (_BatchNorm,),
    "group_norm": (nn.GroupNorm,),
    "layer_norm": (nn.LayerNorm,),
}

Fill = Callable[[Tensor], object]


@dataclass(frozen=True)
class Initialization:
    """Fill the weights of all layers of some types, and set their biases to one number."""

    fill: Fill
    layers: tuple[FanLayer, ...] | tuple[Layer, ...]
    bias: float

    def apply(self, part: nn.Module) -> int:
        """Draw the weights of a part of a model; return how many layers were initialised."""
        count = 0
        for weight, bias in _weights_and_biases(part, self.layers):
            self.fill(weight)
            if bias is not None:
                nn.init.constant_(bias, self.bias)
            count += 1
        return count


def _weights_and_biases(part: nn.Module, layers: tuple[Layer, ...]) -> Iterator[tuple[Tensor, Tensor | None]]:
    types = tuple(t for layer in layers for t in _TYPES[layer])
    for module in part.modules():
        if isinstance(module, types):
            prefix = "in_proj_" if isinstance(module, nn.MultiheadAttention) else ""
            weight = getattr(module, f"{prefix}weight")
            if weight is not None:  # a norm need not have one
                yield weight, getattr(module, f"{prefix}bias", None)


def kaiming(
    *,
    mode: Literal["fan_in", "fan_out"] = "fan_out",
    nonlinearity: Literal["relu", "leaky_relu", "linear"] = "relu",
    distribution: Literal["normal", "uniform"] = "normal",
    layers: FanLayers = ("conv2d", "linear"),
    bias: float = 0.0,
) -> Initialization:
    """Keep the variance through layers with ReLU, forwards (fan_in) or backwards (fan_out).

    He et al., "Delving deep into rectifiers", 2015. The slope of `leaky_relu` is 0.01, as in PyTorch's.
    """
    draw = nn.init.kaiming_normal_ if distribution == "normal" else nn.init.kaiming_uniform_
    return Initialization(lambda weight: draw(weight, a=0.01, mode=mode, nonlinearity=nonlinearity), layers, bias)


def xavier(
    *,
    gain: PositiveFloat = 1.0,
    distribution: Literal["normal", "uniform"] = "uniform",
    layers: FanLayers = ("conv2d", "linear"),
    bias: float = 0.0,
) -> Initialization:
    """Keep the variance through linear layers, as a compromise of both directions.

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    draw = nn.init.xavier_normal_ if distribution == "normal" else nn.init.xavier_uniform_
    return Initialization(lambda weight: draw(weight, gain=gain), layers, bias)


def trunc_normal(
    *,
    mean: float = 0.0,
    std: PositiveFloat = 0.02,
    a: float = -2.0,
    b: float = 2.0,
    layers: Layers = ("conv2d", "linear"),
    bias: float = 0.0,
) -> Initialization:
    """Draw from a normal distribution, and again what falls outside of a to b, as transformers do."""
    _check_interval("trunc_normal", a, b)
    return Initialization(lambda weight: nn.init.trunc_normal_(weight, mean, std, a, b), layers, bias)


def normal(
    *,
    mean: float = 0.0,
    std: PositiveFloat = 0.01,
    layers: Layers = ("conv2d", "linear"),
    bias: float = 0.0,
) -> Initialization:
    """Draw from a normal distribution."""
    return Initialization(lambda weight: nn.init.normal_(weight, mean, std), layers, bias)


def uniform(
    *,
    a: float,
    b: float,
    layers: Layers = ("conv2d", "linear"),
    bias: float = 0.0,
) -> Initialization:
    """Draw evenly from a to b."""
    _check_interval("uniform", a, b)
    return Initialization(lambda weight: nn.init.uniform_(weight, a, b), layers, bias)


def constant(*, value: float, layers: Layers, bias: float = 0.0) -> Initialization:
    """Set every weight to one value: 1 for norms, 0 for a linear layer that shall not matter at first."""
    return Initialization(lambda weight: nn.init.constant_(weight, value), layers, bias)


def _check_interval(name: str, a: float, b: float) -> None:
    if not a < b:  # also where one of them is nan
        raise ValueError(f"{name} needs an a less than b, got a = {a} and b = {b}")


INITIALIZATIONS: dict[str, Callable[..., Initialization]] = {
    "constant": constant,
    "kaiming": kaiming,
    "normal": normal,
    "trunc_normal": trunc_normal,
    "uniform": uniform,
    "xavier": xavier,
}


@torch.no_grad()
def initialize(part: nn.Module, table: Mapping[str, Any]) -> None:
    """Draw the weights of a part of a model as a checked `init` table says.

    Raises ValueError when the part has no layer of the types that it names.
    """
    parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items() if k != "type"}
    initialization = INITIALIZATIONS[table["type"]](**parameters)
    if initialization.apply(part) == 0:
        raise ValueError(f"it has no {' or '.join(initialization.layers)} layer to initialise")
