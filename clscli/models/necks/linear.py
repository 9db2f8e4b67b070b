"""Necks made of linear layers."""

from torch import Tensor, nn

from clscli.models.fields import PositiveInt
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.vectors import VectorActivation, VectorNorm, last_vector, make_linear_layers


class LinearNeck(nn.Module):
    """Linear layers, each with norm and activation, on the last output: an embedding for the head.

    Takes vectors (B, C); maps need a pooling neck before it. `mid_channels` are the widths of hidden layers
    before the last one, which gives `out_channels`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        mid_channels: tuple[PositiveInt, ...] = (),
        out_channels: PositiveInt = 512,
        norm: VectorNorm = "batch_norm",
        activation: VectorActivation = "relu",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (*mid_channels, out_channels):
            layers += make_linear_layers(in_channels, width, norm, activation)
            in_channels = width
        self.layers = nn.Sequential(*layers)
        self.out_channels = out_channels

    def forward(self, outputs: Outputs) -> Tensor:
        vectors: Tensor = self.layers(last_vector(outputs, "neck 'linear_neck'"))
        return vectors
