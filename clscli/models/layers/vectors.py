"""What necks and heads that work on vectors (B, C) share."""

from typing import Literal

from torch import Tensor, nn

from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.outputs import Outputs, last_output

VectorNorm = Literal["none", "batch_norm", "layer_norm"]
VectorActivation = Literal["none", Activation]

_NORMS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "batch_norm": nn.BatchNorm1d,
    "layer_norm": nn.LayerNorm,
}


def make_linear_layers(
    in_channels: int, out_channels: int, norm: VectorNorm, activation: VectorActivation
) -> list[nn.Module]:
    """Make a linear layer, its norm and its activation, of which the last two may be identities."""
    return [
        nn.Linear(in_channels, out_channels),
        _NORMS[norm](out_channels),
        nn.Identity() if activation == "none" else make_activation(activation),
    ]


def last_vector(outputs: Outputs, part: str) -> Tensor:
    """Return the last output, or say which neck makes it a vector; `part` names who needs one."""
    return require_vector(last_output(outputs), part)


def require_vector(output: Tensor, part: str) -> Tensor:
    """Return an output that is a vector (B, C), or raise ValueError naming the neck that makes it one."""
    if output.ndim != 2:
        pooling = '{ type = "global_average_pooling" }'
        hint = f"put {pooling} before it" if part.startswith("neck ") else f"add neck = {pooling}"
        raise ValueError(f"{part} expects vectors (B, C), got {tuple(output.shape)}: {hint}")
    return output
