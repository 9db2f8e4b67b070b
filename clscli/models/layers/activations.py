"""Activation functions by name."""

from typing import Literal

from torch import nn

Activation = Literal[
    "relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "mish", "hardswish", "sigmoid", "tanh"
]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
# Those that can write over their input, which saves one map of memory.
_IN_PLACE = frozenset({"relu", "relu6", "leaky_relu", "elu", "silu", "mish", "hardswish"})


def make_activation(name: Activation, *, inplace: bool = True) -> nn.Module:
    """Make an activation; `inplace` where it has that, and must be False if its input is used again."""
    make = _ACTIVATIONS[name]
    return make(inplace=inplace) if name in _IN_PLACE else make()
