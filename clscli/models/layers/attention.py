"""Multi-head self-attention."""

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, C), as in "Attention is all you need" (2017).

    The layers have timm's names, `qkv` and `proj`. `head_channels` None is an equal share of the channels.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        head_channels: int | None = None,
        qkv_bias: bool = True,
        scale: float | None = None,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = scale  # None: 1 / sqrt(channels of a head)
        self.attention_dropout = attention_dropout
        inner = num_heads * (head_channels or channels // num_heads)
        self.qkv = nn.Linear(channels, 3 * inner, bias=qkv_bias)
        self.proj = nn.Linear(inner, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, num_tokens, _ = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, num_tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=self.scale)
        output: Tensor = self.dropout(self.proj(mixed.transpose(1, 2).flatten(2)))
        return output
