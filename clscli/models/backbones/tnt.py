"""TNT: a transformer over patches, with a smaller one over the pixels of each patch inside it."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clscli.models.backbones.tokens import OutType, TokenBackbone, make_class_token, patch_grid
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.attention import Attention
from clscli.models.layers.drop_path import drop_path_rates
from clscli.models.layers.transformer import TransformerBlock, check_heads, initialize_linear_layers
from clscli.models.matching import KeyMap

# Of all layer norms, as published.
_EPS = 1e-5

State = tuple[Tensor, Tensor]
"""Pixel tokens (B * N, pixels of a patch, c) and patch tokens (B, 1 + N, C), the class token first."""


class TNT(TokenBackbone):
    """Transformer in transformer: an inner one mixes the pixels within a patch, an outer one the patches.

    Han et al., "Transformer in transformer", 2021. A patch of `patch_size` has pixels of `pixel_size`, each
    a token of `inner_dim` channels; every block adds a projection of a patch's pixels to its token. Every
    block is a stage; the final layer norm is applied to the last one only.

    `out_type` "cls_token" returns the class token's vector (B, C), "featmap" the patch tokens as a map (B,
    C, H / patch_size, W / patch_size). `image_size` is the size whose position embedding is learnt; for
    images of another size it is interpolated.

    `legacy` is the form that preceded the authors' code, which mmpretrain and older weights have: the first
    convolution sees the pixels of neighbouring patches, and pixels are normalised one by one before their
    projection, not together before and after it.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2103.00112"
    positions_name = "patch_pos"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": (
            (r"(blocks\.\d+)\.norm_in\.", r"\1.inner.norm1."),
            (r"(blocks\.\d+)\.attn_in\.", r"\1.inner.attn."),
            (r"(blocks\.\d+)\.norm_mlp_in\.", r"\1.inner.norm2."),
            (r"(blocks\.\d+)\.mlp_in\.", r"\1.inner.mlp."),
            (r"(blocks\.\d+)\.norm_out\.", r"\1.outer.norm1."),
            (r"(blocks\.\d+)\.attn_out\.", r"\1.outer.attn."),
            (r"(blocks\.\d+)\.norm_mlp\.", r"\1.outer.norm2."),
            (r"(blocks\.\d+)\.mlp\.", r"\1.outer.mlp."),
        ),
        "mmpretrain": (
            (r"^layers\.", "blocks."),
            (r"\.(inner|outer)_block\.", r".\1."),
            (r"\.norm_attn\.", ".norm1."),
            (r"\.norm_ffn\.", ".norm2."),
            (r"\.attn\.attn\.in_proj_", ".attn.qkv."),
            (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
            (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
            (r"\.norm_proj\.", ".norm1_proj."),
            (r"(^|\.)projection\.", r"\1proj."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        image_size: PositiveInt = 224,
        patch_size: PositiveInt = 16,
        pixel_size: PositiveInt = 4,
        num_layers: PositiveInt = 12,
        num_heads: PositiveInt = 6,
        hidden_dim: PositiveInt = 384,
        inner_heads: PositiveInt = 4,
        inner_dim: PositiveInt = 24,
        mlp_ratio: PositiveFloat = 4.0,
        legacy: bool = False,
        dropout: Rate = 0.0,
        attention_dropout: Rate = 0.0,
        drop_path_rate: Rate = 0.1,  # of the paper's training settings
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
        check_heads("TNT", hidden_dim, num_heads)
        check_heads("TNT's inner transformer", inner_dim, inner_heads)
        self.grid = patch_grid("TNT", image_size, patch_size)
        self.size_multiple = patch_size
        pixels_per_side = pixel_grid(patch_size, pixel_size)
        patch_channels = inner_dim * pixels_per_side**2

        self.pixel_embed = PixelEmbed(in_channels, inner_dim, patch_size, pixel_size, legacy=legacy)
        self.norm1_proj = nn.LayerNorm(patch_channels, eps=_EPS)
        self.proj = nn.Linear(patch_channels, hidden_dim)
        self.norm2_proj = nn.LayerNorm(hidden_dim, eps=_EPS)
        self.cls_token = make_class_token(hidden_dim)
        self.patch_pos = make_positions(1 + self.grid[0] * self.grid[1], hidden_dim)
        self.pixel_pos = make_positions(inner_dim, pixels_per_side, pixels_per_side)
        self.pos_drop = nn.Dropout(dropout)

        make_block = partial(
            Block, mlp_ratio=mlp_ratio, legacy=legacy, dropout=dropout, attention_dropout=attention_dropout
        )
        self.blocks = nn.ModuleList(
            make_block(inner_dim, inner_heads, hidden_dim, num_heads, pixels_per_side**2, drop_path=rate)
            for rate in drop_path_rates(drop_path_rate, num_layers)[: self.depth]
        )
        self.norm = self.final_norm(hidden_dim, eps=_EPS)
        initialize_linear_layers(self)
        self.freeze()

    def stem(self) -> list[nn.Module]:
        return [self.pixel_embed, self.norm1_proj, self.proj, self.norm2_proj, self.pos_drop]

    def embed(self, images: Tensor) -> tuple[State, tuple[int, int]]:
        pixels, grid = self.pixel_embed(images)
        pixels = (pixels + self.pixel_pos).flatten(2).transpose(1, 2)
        joined = pixels.reshape(images.shape[0], grid[0] * grid[1], -1)
        patches = self.norm2_proj(self.proj(self.norm1_proj(joined)))
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches], dim=1)
        return (pixels, self.pos_drop(tokens + self.positions_for(grid))), grid

    def select(self, tokens: Any, grid: tuple[int, int], index: int) -> list[Tensor]:
        _, patches = tokens
        return super().select(patches, grid, index)

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Resize the position embedding, and join timm's matrices of query and key with that of the values."""
        adapted = super().adapt_weights(tensors)
        for name in list(adapted):
            joined, values = name.replace(".qk.", ".qkv."), name.replace(".qk.", ".v.")
            if joined != name and values in adapted:
                adapted[joined] = torch.cat([adapted.pop(name), adapted.pop(values)])
        return adapted


class PixelEmbed(nn.Module):
    """Turn images into the pixels of their patches (B * N, channels, h, w), with the patches' grid (H, W)."""

    def __init__(self, in_channels: int, channels: int, patch_size: int, pixel_size: int, *, legacy: bool) -> None:
        super().__init__()
        self.legacy = legacy
        self.patch_size = patch_size
        self.pixel_size = pixel_size
        self.proj = nn.Conv2d(in_channels, channels, 7, stride=pixel_size, padding=3)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        if self.legacy:
            return cut(self.proj(images), self.patch_size // self.pixel_size)
        patches, grid = cut(images, self.patch_size)
        return self.proj(patches), grid


def cut(features: Tensor, size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a map (B, C, H, W) into squares (B * N, C, size, size); return them, and how many there are."""
    batch, channels, height, width = features.shape
    height, width = height // size, width // size
    squares = features.reshape(batch, channels, height, size, width, size)
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(0, 2), (height, width)


def pixel_grid(patch_size: int, pixel_size: int) -> int:
    """Return how many pixels a patch has in height and width, or raise ValueError."""
    if patch_size % pixel_size:
        raise ValueError(f"TNT needs patch_size to be a multiple of pixel_size, got {patch_size} and {pixel_size}")
    return patch_size // pixel_size


def make_positions(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, *shape), std=0.02))


class Block(nn.Module):
    """One block of the inner transformer, a projection of its pixels to patches, one block of the outer one."""

    def __init__(
        self,
        inner_dim: int,
        inner_heads: int,
        hidden_dim: int,
        num_heads: int,
        num_pixels: int,
        *,
        mlp_ratio: float,
        legacy: bool,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        attention = partial(Attention, qkv_bias=False, attention_dropout=attention_dropout, dropout=dropout)
        block = partial(TransformerBlock, dropout=dropout, drop_path=drop_path, eps=_EPS)
        self.inner = block(inner_dim, attention(inner_dim, inner_heads), mlp_ratio=4.0)  # 4 in all variants
        self.norm1_proj = nn.LayerNorm(inner_dim if legacy else inner_dim * num_pixels, eps=_EPS)
        self.proj = nn.Linear(inner_dim * num_pixels, hidden_dim, bias=legacy)
        self.norm2_proj = nn.Identity() if legacy else nn.LayerNorm(hidden_dim, eps=_EPS)
        self.outer = block(hidden_dim, attention(hidden_dim, num_heads), mlp_ratio=mlp_ratio)
        self.legacy = legacy

    def forward(self, state: State) -> State:
        pixels, patches = state
        pixels = self.inner(pixels)
        batch, num_tokens, _ = patches.shape
        shape = (batch, num_tokens - 1, -1)
        joined = self.norm1_proj(pixels).reshape(shape) if self.legacy else self.norm1_proj(pixels.reshape(shape))
        update = self.norm2_proj(self.proj(joined))
        patches = torch.cat([patches[:, :1], patches[:, 1:] + update], dim=1)
        return pixels, self.outer(patches)


tnt_s_patch16 = partial(TNT, num_heads=6, hidden_dim=384, inner_dim=24)
tnt_b_patch16 = partial(TNT, num_heads=10, hidden_dim=640, inner_dim=40)
tnt_s_legacy_patch16 = partial(TNT, num_heads=6, hidden_dim=384, inner_dim=24, legacy=True)
