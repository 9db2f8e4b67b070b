"""Visual attention network: attention computed by large convolutions."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.drop_path import DropPath, drop_path_rates
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.matching import KeyMap

Stages = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class VAN(StagedBackbone):
    """Convolutional network with attention: every pixel weighed by what a large convolution sees around it.

    Guo et al., "Visual attention network", 2022. Stage i has `depths[i]` blocks of `widths[i]` channels and
    perceptrons that are `mlp_ratios[i]` times as wide; the maps are 4, 8, 16 and 32 times smaller than the
    image. A layer norm ends every stage, and is part of what the next one gets. `layer_scale` is where the
    weight of each residual starts. Parameters have the names of the authors' code.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2202.09741"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "van": ((r"\.dwconv\.dwconv\.", ".dwconv."),),
        "mmpretrain": (
            (r"^(patch_embed\d+)\.projection\.", r"\1.proj."),
            (r"^blocks(\d+)\.", r"block\1."),
            (r"\.DW_conv\.", ".conv0."),
            (r"\.DW_D_conv\.", ".conv_spatial."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        depths: Stages = (3, 3, 12, 3),
        widths: Stages = (64, 128, 320, 512),
        mlp_ratios: Stages = (8, 8, 4, 4),
        layer_scale: PositiveFloat = 1e-2,
        norm: Norm = "batch_norm",
        activation: Activation = "gelu",
        drop_path_rate: Rate = 0.1,
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        if not len(depths) == len(widths) == len(mlp_ratios):
            raise ValueError(
                f"VAN needs as many depths as widths and mlp_ratios, got {len(depths)} depths, "
                f"{len(widths)} widths and {len(mlp_ratios)} mlp_ratios"
            )
        super().__init__(
            widths,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        channels = in_channels
        for index in range(self.depth):
            width, hidden = widths[index], widths[index] * mlp_ratios[index]
            kernel_size, stride = (7, 4) if index == 0 else (3, 2)
            blocks = (
                Block(width, hidden, next(rates), layer_scale=layer_scale, norm=norm, activation=activation)
                for _ in range(depths[index])
            )
            embed = OverlapPatchEmbed(channels, width, kernel_size, stride, norm)
            self.add_module(f"patch_embed{index + 1}", embed)
            self.add_module(f"block{index + 1}", nn.Sequential(*blocks))
            self.add_module(f"norm{index + 1}", make_norm("layer_norm", width))
            channels = width
        self.initialize()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stages = [
            [getattr(self, f"{part}{index + 1}") for part in ("patch_embed", "block", "norm")]
            for index in range(self.depth)
        ]
        (stem, *first), *others = stages
        return [[stem], first, *others]

    def initialize(self) -> None:
        """Draw new weights, as the authors' code does: He et al.'s (2015), for the fan-out of each group."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class OverlapPatchEmbed(nn.Module):
    """Cut a map into overlapping patches and project each."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)
        self.norm = make_norm(norm, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.norm(self.proj(features))
        return output


class Block(nn.Module):
    """Attention, then a perceptron, each with a norm before it and a scaled shortcut around it."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        drop_path_rate: float,
        *,
        layer_scale: float,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.norm1 = make_norm(norm, channels)
        self.attn = SpatialAttention(channels, activation)
        self.norm2 = make_norm(norm, channels)
        self.mlp = ConvMlp(channels, hidden, activation)
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), layer_scale))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), layer_scale))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, features: Tensor) -> Tensor:
        attended = self.layer_scale_1[:, None, None] * self.attn(self.norm1(features))
        features = features + self.drop_path(attended)
        residual = self.layer_scale_2[:, None, None] * self.mlp(self.norm2(features))
        output: Tensor = features + self.drop_path(residual)
        return output


class SpatialAttention(nn.Module):
    """Large kernel attention between two 1x1 convolutions, and a shortcut of its own."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = make_activation(activation)
        self.spatial_gating_unit = LargeKernelAttention(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        attended = self.spatial_gating_unit(self.activation(self.proj_1(features)))
        output: Tensor = self.proj_2(attended) + features
        return output


class LargeKernelAttention(nn.Module):
    """Weigh a map by what a 21x21 convolution makes of it, taken apart into three cheap ones (section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.conv_spatial = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        weights: Tensor = self.conv1(self.conv_spatial(self.conv0(features)))
        return features * weights


class ConvMlp(nn.Module):
    """Perceptron over the channels of each pixel, with a depthwise convolution before its activation."""

    def __init__(self, channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = make_activation(activation)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.fc2(self.act(self.dwconv(self.fc1(features))))
        return output


# Drop path rates: the authors' README. They published none for B4 to B6, which have B3's here.
van_b0 = partial(VAN, depths=(3, 3, 5, 2), widths=(32, 64, 160, 256), drop_path_rate=0.1)
van_b1 = partial(VAN, depths=(2, 2, 4, 2), widths=(64, 128, 320, 512), drop_path_rate=0.1)
van_b2 = partial(VAN, depths=(3, 3, 12, 3), widths=(64, 128, 320, 512), drop_path_rate=0.1)
van_b3 = partial(VAN, depths=(3, 5, 27, 3), widths=(64, 128, 320, 512), drop_path_rate=0.2)
van_b4 = partial(VAN, depths=(3, 6, 40, 3), widths=(64, 128, 320, 512), drop_path_rate=0.2)
van_b5 = partial(VAN, depths=(3, 3, 24, 3), widths=(96, 192, 480, 768), drop_path_rate=0.2)
van_b6 = partial(VAN, depths=(6, 6, 90, 6), widths=(96, 192, 384, 768), drop_path_rate=0.2)
