"""T2T-ViT: a vision transformer whose patches overlap and merge step by step into tokens."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.backbones.tokens import OutType, TokenBackbone, make_class_token
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.attention import Attention
from clscli.models.layers.drop_path import drop_path_rates
from clscli.models.layers.mlp import Mlp
from clscli.models.layers.patches import to_map, to_tokens
from clscli.models.layers.transformer import TransformerBlock, check_heads, initialize_linear_layers
from clscli.models.matching import KeyMap

# The soft splits, each as kernel, stride and padding: the paper's section 3.1.
_SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))
# Of the layer norms in the authors' code, which has PyTorch's default.
_EPS = 1e-5


class T2TViT(TokenBackbone):
    """Vision transformer that builds its tokens from overlapping patches, in three steps.

    Yuan et al., "Tokens-to-token ViT: training vision transformers from scratch on ImageNet", 2021. Each step
    unfolds its map, which halves or quarters it, and attention mixes the tokens between the steps:
    `token_attention` "performer" costs time linear in the number of tokens, "transformer" is exact.
    `token_dim` are the channels there, `hidden_dim` those of the blocks, of which every one is a stage; the
    final layer norm is applied to the last one only.

    `out_type` "cls_token" returns the class token's vector (B, C), "featmap" the other tokens as a map (B, C,
    H / 16, W / 16). The position embedding is a sinusoid over the tokens of an image of `image_size`; for
    images of another size it is interpolated. Parameters have the names of the authors' code.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2101.11986"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "authors": ((r"(attention[12]\.mlp)\.0\.", r"\1.fc1."), (r"(attention[12]\.mlp)\.2\.", r"\1.fc2.")),
        "mmpretrain": (
            (r"^encoder\.", "blocks."),
            (r"\.ln([12])\.", r".norm\1."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
            (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        image_size: PositiveInt = 224,
        token_attention: Literal["performer", "transformer"] = "performer",
        token_dim: PositiveInt = 64,
        num_layers: PositiveInt = 14,
        num_heads: PositiveInt = 6,
        hidden_dim: PositiveInt = 384,
        mlp_ratio: PositiveFloat = 3.0,
        dropout: Rate = 0.0,
        attention_dropout: Rate = 0.0,
        drop_path_rate: Rate = 0.1,  # of the authors' training commands
        out_type: OutType = "cls_token",
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            hidden_dim,
            num_layers,
            out_type=out_type,
            gradient_checkpointing=gradient_checkpointing,
            frozen_stages=frozen_stages,
            out_indices=out_indices,
        )
        check_heads("T2TViT", hidden_dim, num_heads)
        self.min_size = 3  # of a smaller image, the padding included, the first split gets no patch
        self.grid = (tokens_per_side(image_size), tokens_per_side(image_size))
        self.tokens_to_token = TokensToToken(in_channels, token_dim, hidden_dim, token_attention)
        self.cls_token = make_class_token(hidden_dim)
        self.pos_embed: Tensor
        self.register_buffer("pos_embed", sinusoid(1 + self.grid[0] * self.grid[1], hidden_dim))
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                hidden_dim,
                Attention(
                    hidden_dim,
                    num_heads,
                    qkv_bias=False,
                    attention_dropout=attention_dropout,
                    dropout=dropout,
                ),
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                drop_path=rate,
                eps=_EPS,
            )
            for rate in drop_path_rates(drop_path_rate, num_layers)[: self.depth]
        )
        self.norm = self.final_norm(hidden_dim, eps=_EPS)
        initialize_linear_layers(self)
        self.freeze()

    def stem(self) -> list[nn.Module]:
        return [self.tokens_to_token, self.pos_drop]

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        features = self.run(self.tokens_to_token, images)  # it holds more than all blocks together
        grid = features.shape[-2:]
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), to_tokens(features)], dim=1)
        return self.pos_drop(tokens + self.positions_for(grid)), grid


class TokensToToken(nn.Module):
    """Turn an image (B, C, H, W) into a map (B, out_channels, H / 16, W / 16) by three soft splits."""

    def __init__(self, in_channels: int, token_dim: int, out_channels: int, attention: str) -> None:
        super().__init__()
        make = TokenPerformer if attention == "performer" else TokenTransformer
        first, second, third = (kernel**2 for kernel, _, _ in _SPLITS)
        self.attention1 = make(in_channels * first, token_dim)
        self.attention2 = make(token_dim * second, token_dim)
        self.project = nn.Linear(token_dim * third, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        for mix, split in zip((self.attention1, self.attention2, self.project), _SPLITS, strict=True):
            features = to_map(mix(soft_split(features, *split)), split_size(features, *split))
        return features


def soft_split(features: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Cut a map (B, C, H, W) into overlapping patches, each a token of all its numbers: (B, N, C * kernel^2)."""
    return F.unfold(features, kernel, stride=stride, padding=padding).transpose(1, 2)


def split_size(features: Tensor, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Return how many patches (H, W) a soft split makes of a map."""
    height, width = features.shape[-2:]
    return (height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1


def tokens_per_side(size: int) -> int:
    """Return how many tokens the three soft splits leave of an image's height or width."""
    for kernel, stride, padding in _SPLITS:
        size = (size + 2 * padding - kernel) // stride + 1
    return size


class TokenTransformer(nn.Module):
    """Transformer block over tokens (B, N, in_channels) that returns tokens of other channels (B, N, channels)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(in_channels, eps=_EPS)
        self.attn = ValueShortcutAttention(in_channels, channels)
        self.norm2 = nn.LayerNorm(channels, eps=_EPS)
        self.mlp = Mlp(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.attn(self.norm1(tokens))
        output: Tensor = tokens + self.mlp(self.norm2(tokens))
        return output


class ValueShortcutAttention(nn.Module):
    """Attention with one head and fewer output channels, and so with a shortcut from the values."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        # Of the input's channels, unlike everywhere else: the published weights were trained with this.
        self.scale = in_channels**-0.5
        self.qkv = nn.Linear(in_channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        output: Tensor = value + self.proj(F.scaled_dot_product_attention(query, key, value, scale=self.scale))
        return output


class TokenPerformer(nn.Module):
    """`TokenTransformer` in time linear in the number of tokens: its softmax is replaced by random features.

    Choromanski et al., "Rethinking attention with performers", 2020: exp(q . k) is the mean over random w of
    exp(w . q - |q|^2 / 2) exp(w . k - |k|^2 / 2), so keys can be summed before queries ask for them.
    """

    # As in T2T-ViT's code: one random feature for two channels, this dropout whatever the rest of the model has.
    features_per_channel = 0.5
    dropout_rate = 0.1

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(in_channels, eps=_EPS)
        self.kqv = nn.Linear(in_channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels, eps=_EPS)
        self.mlp = Mlp(channels, channels)
        self.dropout = nn.Dropout(self.dropout_rate)
        num_features = max(1, int(channels * self.features_per_channel))
        self.w: Tensor
        directions = nn.init.orthogonal_(torch.empty(num_features, channels))
        self.register_buffer("w", directions * math.sqrt(num_features))

    def forward(self, tokens: Tensor) -> Tensor:
        key, query, value = self.kqv(self.norm1(tokens)).chunk(3, dim=-1)
        tokens = value + self.dropout(self.proj(self.mix(query, key, value)))
        output: Tensor = tokens + self.dropout(self.mlp(self.norm2(tokens)))
        return output

    def mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the mean of the values of all tokens, weighted by how their keys fit each query."""
        with full_precision(value):  # sums of thousands of exponentials, some of them huge
            queries, keys = self.random_features(query), self.random_features(key)
            weighted = queries @ (keys.transpose(1, 2) @ value.to(keys.dtype))
            total = queries @ keys.sum(dim=1).unsqueeze(2)
            return (weighted / (total + 1e-8)).to(value.dtype)

    def random_features(self, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self.w.dtype)
        halved_norm = tokens.square().sum(dim=-1, keepdim=True) / 2
        return torch.exp(tokens @ self.w.T - halved_norm) / math.sqrt(len(self.w))


def full_precision(tensor: Tensor) -> AbstractContextManager[None]:
    """Switch autocast off on a tensor's device; the meta device has none."""
    if tensor.device.type == "meta":
        return nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


def sinusoid(num_positions: int, channels: int) -> Tensor:
    """Return the position embedding (1, N, C) of "Attention is all you need" (2017)."""
    frequencies = 10000 ** (-2 * torch.div(torch.arange(channels), 2, rounding_mode="floor") / channels)
    angles = torch.arange(num_positions)[:, None] * frequencies
    even = torch.arange(channels) % 2 == 0
    return torch.where(even, angles.sin(), angles.cos())[None]


t2t_vit_7 = partial(T2TViT, num_layers=7, num_heads=4, hidden_dim=256, mlp_ratio=2.0)
t2t_vit_10 = partial(T2TViT, num_layers=10, num_heads=4, hidden_dim=256, mlp_ratio=2.0)
t2t_vit_12 = partial(T2TViT, num_layers=12, num_heads=4, hidden_dim=256, mlp_ratio=2.0)
t2t_vit_14 = partial(T2TViT, num_layers=14, num_heads=6, hidden_dim=384)
t2t_vit_19 = partial(T2TViT, num_layers=19, num_heads=7, hidden_dim=448)
t2t_vit_24 = partial(T2TViT, num_layers=24, num_heads=8, hidden_dim=512)
t2t_vit_t_14 = partial(T2TViT, num_layers=14, num_heads=6, hidden_dim=384, token_attention="transformer")
t2t_vit_t_19 = partial(T2TViT, num_layers=19, num_heads=7, hidden_dim=448, token_attention="transformer")
t2t_vit_t_24 = partial(T2TViT, num_layers=24, num_heads=8, hidden_dim=512, token_attention="transformer")
