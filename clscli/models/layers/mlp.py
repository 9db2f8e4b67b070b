"""The two-layer perceptron of transformers."""

from torch import Tensor, nn

from clscli.models.layers.activations import Activation, make_activation


class Mlp(nn.Module):
    """Two linear layers over the last dimension (..., C), with an activation between them.

    The layers have timm's names, `fc1` and `fc2`.
    """

    def __init__(
        self, channels: int, hidden: int, *, activation: Activation = "gelu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = make_activation(activation)
        self.fc2 = nn.Linear(hidden, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.dropout(self.act(self.fc1(tokens)))
        output: Tensor = self.dropout(self.fc2(hidden))
        return output
