"""Heads made of linear layers."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from clscli.models.layers.outputs import Outputs, last_output

Rate = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]

NORMS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "batch_norm": nn.BatchNorm1d,
    "layer_norm": nn.LayerNorm,
}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Linear(nn.Module):
    """One linear layer from the last output to the classes, the usual head.

    Takes vectors (B, C); maps need a pooling neck before it. `dropout` is applied to the vector.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: Rate = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, outputs: Outputs) -> Tensor:
        logits: Tensor = self.fc(self.dropout(last_vector(outputs, "linear")))
        return logits


class StackedLinear(nn.Module):
    """Hidden linear layers, each with norm, activation and dropout, and then one to the classes.

    Takes vectors (B, C); maps need a pooling neck before it. `mid_channels` are the widths of the hidden
    layers.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        mid_channels: tuple[PositiveInt, ...] = (1024,),
        norm: Literal["none", "batch_norm", "layer_norm"] = "none",
        activation: Literal["relu", "gelu", "hardswish", "silu", "tanh"] = "relu",
        dropout: Rate = 0.0,
    ) -> None:
        super().__init__()
        hidden = nn.Sequential()
        for width in mid_channels:
            hidden.extend([nn.Linear(in_channels, width), NORMS[norm](width), ACTIVATIONS[activation]()])
            hidden.append(nn.Dropout(dropout))
            in_channels = width
        self.hidden = hidden
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, outputs: Outputs) -> Tensor:
        logits: Tensor = self.fc(self.hidden(last_vector(outputs, "stacked_linear")))
        return logits


def last_vector(outputs: Outputs, head: str) -> Tensor:
    """Return the last output, or say which neck makes it a vector."""
    output = last_output(outputs)
    if output.ndim != 2:
        raise ValueError(
            f"head {head!r} expects vectors (B, C), got {tuple(output.shape)}: "
            'add neck = { type = "global_average_pooling" }'
        )
    return output
