"""Squeeze-and-excitation."""

from torch import Tensor, nn

from clscli.models.layers.activations import Activation, make_activation


class SqueezeExcite(nn.Module):
    """Weigh the channels of a map (B, C, H, W) by what the whole map holds.

    Hu et al., "Squeeze-and-excitation networks", 2018. `hidden` is the width of the bottleneck between the
    two layers, which are 1x1 convolutions, named as torchvision and timm name them.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        activation: Activation = "relu",
        gate: Activation = "sigmoid",
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.act = make_activation(activation)
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.gate = make_activation(gate)

    def forward(self, features: Tensor) -> Tensor:
        weights = self.gate(self.fc2(self.act(self.fc1(self.pool(features)))))
        output: Tensor = features * weights
        return output
