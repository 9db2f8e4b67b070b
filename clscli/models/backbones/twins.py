"""Twins: two pyramids of transformer blocks, with global attention only, and by turns with local."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.attention import Attention
from clscli.models.layers.drop_path import drop_path_rates
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.patches import PatchEmbed
from clscli.models.layers.transformer import TransformerBlock, check_heads, initialize_linear_layers
from clscli.models.matching import KeyMap

PerStage = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]

# Of the norms beside the blocks, as published; those of the blocks have 1e-6.
_EPS = 1e-5


class Twins(StagedBackbone):
    """Pyramid of transformer blocks whose position encoding is a convolution, so that any image size fits.

    Chu et al., "Twins: revisiting the design of spatial attention in vision transformers", 2021. Stages have
    strides 4, 8, 16 and 32; maps that do not divide are padded with zeros. In global attention the keys of
    stage i are those of a map `sr_ratios[i]` times smaller. Without `window_size` all attention is global
    (Twins-PCPVT); with it, every other block, from the first on, attends within windows of that size
    (Twins-SVT). A layer norm follows the last stage only. Parameters have timm's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2104.13840"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            (r"^patch_embeds\.(\d+)\.projection\.", r"patch_embeds.\1.proj."),
            (r"^stages\.", "blocks."),
            (r"^position_encodings\.(\d+)\.proj\.", r"pos_block.\1.proj.0."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
            (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
            (r"^norm_after_stage\d+\.", "norm."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        depths: PerStage = (3, 4, 6, 3),
        widths: PerStage = (64, 128, 320, 512),
        num_heads: PerStage = (1, 2, 5, 8),
        mlp_ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (8.0, 8.0, 4.0, 4.0),
        sr_ratios: PerStage = (8, 4, 2, 1),
        window_size: PositiveInt | None = None,
        dropout: Rate = 0.0,
        attention_dropout: Rate = 0.0,
        drop_path_rate: Rate = 0.2,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        check_stages(depths=depths, widths=widths, num_heads=num_heads, mlp_ratios=mlp_ratios, sr_ratios=sr_ratios)
        for channels, heads in zip(widths, num_heads, strict=True):
            check_heads("Twins", channels, heads)
        super().__init__(
            widths,
            gradient_checkpointing=gradient_checkpointing,
            frozen_stages=frozen_stages,
            out_indices=out_indices,
        )
        # The smallest whose map holds one window of the convolution that reduces the keys, in every stage.
        self.min_size = max((sr_ratios[index] - 1) * 4 * 2**index + 1 for index in range(self.depth))

        self.patch_embeds = nn.ModuleList(
            NormedPatchEmbed(widths[index - 1] if index else in_channels, widths[index], 2 if index else 4)
            for index in range(self.depth)
        )
        self.pos_block = nn.ModuleList(PositionEncoding(channels) for channels in widths[: self.depth])
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        block = partial(make_block, attention_dropout=attention_dropout, dropout=dropout)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                block(
                    widths[index],
                    num_heads[index],
                    mlp_ratios[index],
                    sr_ratio=sr_ratios[index],
                    window_size=window_size if number % 2 == 0 else None,
                    drop_path=next(rates),
                )
                for number in range(depths[index])
            )
            for index in range(self.depth)
        )
        is_whole = self.depth == len(depths)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6) if is_whole else nn.Identity()
        self.initialize()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stem, *downsamples = self.patch_embeds
        stages = [[blocks, position] for blocks, position in zip(self.blocks, self.pos_block, strict=True)]
        for downsample, stage in zip(downsamples, stages[1:], strict=True):
            stage.insert(0, downsample)
        stages[-1].append(self.norm)
        return [[stem], *stages]

    def forward(self, images: Tensor) -> Outputs:
        self.check_size(images)
        features, outputs = images, []
        parts = zip(self.patch_embeds, self.blocks, self.pos_block, strict=True)
        for index, (patch_embed, blocks, position) in enumerate(parts):
            features = patch_embed(features)
            for number, block in enumerate(blocks.children()):
                features = self.run(block, features)
                if number == 0:
                    features = position(features)
            if index == self.depth - 1:
                features = self.norm(features)
            features = features.permute(0, 3, 1, 2)
            if index in self.out_indices:
                outputs.append(features)
        return self.pack(outputs)

    def initialize(self) -> None:
        """Draw new weights: linear layers as DeiT, convolutions by their fan-out, as the authors' code."""
        initialize_linear_layers(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                assert module.bias is not None
                nn.init.zeros_(module.bias)


def check_stages(**per_stage: tuple[float, ...]) -> None:
    """Raise ValueError unless all of a pyramid's parameters are for the same number of stages."""
    if len({len(values) for values in per_stage.values()}) > 1:
        found = ", ".join(f"{len(values)} {name}" for name, values in per_stage.items())
        raise ValueError(f"Twins needs one value for each stage, got {found}")


def make_block(
    channels: int,
    num_heads: int,
    mlp_ratio: float,
    *,
    sr_ratio: int,
    window_size: int | None,
    attention_dropout: float,
    dropout: float,
    drop_path: float,
) -> TransformerBlock:
    """Make a block with attention within windows, or with global attention if there is no `window_size`."""
    dropouts = {"attention_dropout": attention_dropout, "dropout": dropout}
    attention: nn.Module
    if window_size is None:
        attention = ReducedAttention(channels, num_heads, sr_ratio, **dropouts)
    else:
        attention = WindowAttention(channels, num_heads, window_size, **dropouts)
    return TransformerBlock(channels, attention, mlp_ratio=mlp_ratio, dropout=dropout, drop_path=drop_path)


class NormedPatchEmbed(PatchEmbed):
    """Cut a map (B, C, H, W) into patches, and project and normalise each: (B, H / patch, W / patch, C')."""

    def __init__(self, in_channels: int, out_channels: int, patch_size: int) -> None:
        super().__init__(in_channels, out_channels, patch_size)
        self.patch_size = patch_size
        self.norm = nn.LayerNorm(out_channels, eps=_EPS)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        padded = F.pad(features, (0, -width % self.patch_size, 0, -height % self.patch_size))
        output: Tensor = self.norm(super().forward(padded).permute(0, 2, 3, 1))
        return output


class PositionEncoding(nn.Module):
    """Add to each pixel of a map (B, H, W, C) what a 3x3 depthwise convolution sees around it.

    Zeros beyond the border tell where that is: Chu et al., "Conditional positional encodings", 2021.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, groups=channels))

    def forward(self, features: Tensor) -> Tensor:
        encoding = self.proj(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        output: Tensor = features + encoding
        return output


class WindowAttention(Attention):
    """Attention of a map (B, H, W, C) within windows, which tile the map padded with zeros."""

    def __init__(
        self, channels: int, num_heads: int, window_size: int, *, attention_dropout: float, dropout: float
    ) -> None:
        super().__init__(channels, num_heads, attention_dropout=attention_dropout, dropout=dropout)
        self.window_size = window_size

    def forward(self, features: Tensor) -> Tensor:
        batch, height, width, channels = features.shape
        size = self.window_size
        padded = F.pad(features, (0, 0, 0, -width % size, 0, -height % size))
        rows, columns = padded.shape[1] // size, padded.shape[2] // size
        windows = padded.reshape(batch, rows, size, columns, size, channels).transpose(2, 3)
        mixed = super().forward(windows.reshape(-1, size * size, channels))
        mixed = mixed.reshape(batch, rows, columns, size, size, channels).transpose(2, 3)
        return mixed.reshape(batch, rows * size, columns * size, channels)[:, :height, :width]


class ReducedAttention(nn.Module):
    """Attention of a map (B, H, W, C) to a map `sr_ratio` times smaller, made by a convolution.

    Wang et al., "Pyramid vision transformer", 2021. The layers have timm's names.
    """

    def __init__(
        self, channels: int, num_heads: int, sr_ratio: int, *, attention_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.sr = nn.Conv2d(channels, channels, sr_ratio, stride=sr_ratio) if sr_ratio > 1 else None
        self.norm = nn.LayerNorm(channels, eps=_EPS) if sr_ratio > 1 else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        keys = features
        if self.sr is not None:
            keys = self.norm(self.sr(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        query = self.q(features).flatten(1, 2).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key, value = self.kv(keys).flatten(1, 2).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        output: Tensor = self.dropout(self.proj(mixed.transpose(1, 2).flatten(2))).reshape(features.shape)
        return output


# Stochastic depth by size as in the paper: 0.2, 0.3 and 0.5.
twins_pcpvt_small = partial(Twins, depths=(3, 4, 6, 3), drop_path_rate=0.2)
twins_pcpvt_base = partial(Twins, depths=(3, 4, 18, 3), drop_path_rate=0.3)
twins_pcpvt_large = partial(Twins, depths=(3, 8, 27, 3), drop_path_rate=0.5)
_svt = partial(Twins, mlp_ratios=(4.0, 4.0, 4.0, 4.0), window_size=7)
twins_svt_small = partial(
    _svt, depths=(2, 2, 10, 4), widths=(64, 128, 256, 512), num_heads=(2, 4, 8, 16), drop_path_rate=0.2
)
twins_svt_base = partial(
    _svt, depths=(2, 2, 18, 2), widths=(96, 192, 384, 768), num_heads=(3, 6, 12, 24), drop_path_rate=0.3
)
twins_svt_large = partial(
    _svt, depths=(2, 2, 18, 2), widths=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32), drop_path_rate=0.5
)
