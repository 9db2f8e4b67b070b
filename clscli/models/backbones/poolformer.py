"""PoolFormer: a transformer whose attention is an average pooling."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.drop_path import DropPath, drop_path_rates
from clscli.models.matching import KeyMap

Stages = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class PoolFormer(StagedBackbone):
    """Transformer without attention: an average pooling mixes each pixel with its neighbours.

    Yu et al., "MetaFormer is actually what you need for vision", 2021. Stage i has `depths[i]` blocks of
    `widths[i]` channels; the maps are 4, 8, 16 and 32 times smaller than the image. The final norm is
    applied to the last stage's map, as in the paper; timm, whose names the parameters have, pools first.
    `layer_scale` is where the weight of each residual starts.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2111.11418"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": ((r"^head\.norm\.", "norm."),),
        # And the authors' own, whose final norm has our name. Stages and downsampling are numbered by turns.
        "mmpretrain": (
            (r"^patch_embed\.proj\.", "stem.conv."),
            (r"^network\.(\d+)\.proj\.", lambda match: f"stages.{int(match[1]) // 2 + 1}.downsample.conv."),
            (r"^network\.(\d+)\.", lambda match: f"stages.{int(match[1]) // 2}.blocks."),
            (r"\.layer_scale_(\d)$", r".layer_scale\1.scale"),
            (r"^norm6\.", "norm."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        depths: Stages = (2, 2, 6, 2),
        widths: Stages = (64, 128, 320, 512),
        mlp_ratio: PositiveInt = 4,
        layer_scale: PositiveFloat = 1e-5,
        activation: Activation = "gelu",
        drop_path_rate: Rate = 0.1,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        if len(depths) != len(widths):
            raise ValueError(
                f"PoolFormer needs as many depths as widths, got {len(depths)} depths and {len(widths)} widths"
            )
        super().__init__(
            widths,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.min_size = 3  # the stem's convolution sees 7 pixels, and 4 of them may be padding
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.stem = Embedding(in_channels, widths[0], kernel_size=7, stride=4, padding=2)
        self.stages = nn.ModuleList()
        for index in range(self.depth):
            width = widths[index]
            stage = nn.Module()
            if index > 0:
                stage.downsample = Embedding(widths[index - 1], width, kernel_size=3, stride=2, padding=1)
            blocks = (
                Block(width, width * mlp_ratio, next(rates), layer_scale=layer_scale, activation=activation)
                for _ in range(depths[index])
            )
            stage.blocks = nn.Sequential(*blocks)
            self.stages.append(stage)
        self.norm = make_norm(widths[-1]) if self.depth == len(widths) else nn.Identity()
        self.initialize()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stages = [list(stage.children()) for stage in self.stages]
        stages[-1].append(self.norm)
        return [[self.stem], *stages]

    def initialize(self) -> None:
        """Draw new weights, as the authors' code does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class Embedding(nn.Module):
    """Cut a map into overlapping patches and project each."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, padding: int
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.conv(features)
        return output


class Block(nn.Module):
    """A pooling, then a perceptron, each with a norm before it and a scaled shortcut around it."""

    def __init__(
        self, channels: int, hidden: int, drop_path_rate: float, *, layer_scale: float, activation: Activation
    ) -> None:
        super().__init__()
        self.norm1 = make_norm(channels)
        self.layer_scale1 = LayerScale(channels, layer_scale)
        self.norm2 = make_norm(channels)
        self.mlp = ConvMlp(channels, hidden, activation)
        self.layer_scale2 = LayerScale(channels, layer_scale)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, features: Tensor) -> Tensor:
        features = features + self.drop_path(self.layer_scale1(subtracted_pooling(self.norm1(features))))
        output: Tensor = features + self.drop_path(self.layer_scale2(self.mlp(self.norm2(features))))
        return output


class LayerScale(nn.Module):
    """Scale each channel of a map (Touvron et al., 2021)."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), start))

    def forward(self, residual: Tensor) -> Tensor:
        return residual * self.scale[:, None, None]


class ConvMlp(nn.Module):
    """Perceptron over the channels of each pixel."""

    def __init__(self, channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.act = make_activation(activation)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.fc2(self.act(self.fc1(features)))
        return output


def subtracted_pooling(features: Tensor) -> Tensor:
    """Average each pixel's 3x3 neighbourhood, less the pixel, which the block's shortcut adds again."""
    pooled = F.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)
    return pooled - features


def make_norm(channels: int) -> nn.Module:
    """Make the paper's "modified layer norm", over all channels and pixels of an image."""
    return nn.GroupNorm(1, channels)


# Layer scales: the authors' code; drop path rates: their README.
_small_widths, _medium_widths = (64, 128, 320, 512), (96, 192, 384, 768)
poolformer_s12 = partial(
    PoolFormer, depths=(2, 2, 6, 2), widths=_small_widths, layer_scale=1e-5, drop_path_rate=0.1
)
poolformer_s24 = partial(
    PoolFormer, depths=(4, 4, 12, 4), widths=_small_widths, layer_scale=1e-5, drop_path_rate=0.1
)
poolformer_s36 = partial(
    PoolFormer, depths=(6, 6, 18, 6), widths=_small_widths, layer_scale=1e-6, drop_path_rate=0.2
)
poolformer_m36 = partial(
    PoolFormer, depths=(6, 6, 18, 6), widths=_medium_widths, layer_scale=1e-6, drop_path_rate=0.3
)
poolformer_m48 = partial(
    PoolFormer, depths=(8, 8, 24, 8), widths=_medium_widths, layer_scale=1e-6, drop_path_rate=0.4
)
