"""The transformer block, and how the weights of transformers start."""

from torch import Tensor, nn

from clscli.models.layers.activations import Activation
from clscli.models.layers.drop_path import DropPath
from clscli.models.layers.mlp import Mlp


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each after a layer norm and with a shortcut around both.

    Takes whatever its `attention` takes with the channels last, (..., C): tokens (B, N, C) as a rule. The
    layers have timm's names: `norm1`, `attn`, `norm2`, `mlp`.
    """

    def __init__(
        self,
        channels: int,
        attention: nn.Module,
        *,
        mlp_ratio: float = 4.0,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), activation=activation, dropout=dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        output: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return output


def initialize_linear_layers(model: nn.Module) -> None:
    """Draw the weights of a model's linear layers from a truncated normal of 0.02, with biases of 0.

    As BERT (Devlin et al., 2018) and, after it, DeiT and its descendants start.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_heads(name: str, channels: int, num_heads: int) -> None:
    """Raise ValueError when the channels of a model do not divide into attention heads."""
    if channels % num_heads:
        raise ValueError(
            f"{name} needs channels that are a multiple of the attention heads, "
            f"got {channels} channels and {num_heads} heads"
        )
