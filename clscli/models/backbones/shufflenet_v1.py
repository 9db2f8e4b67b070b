"""ShuffleNet, version 1: grouped 1x1 convolutions and channel shuffling."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.convolutions import conv_norm
from clscli.models.layers.norms import Norm


class ShuffleNetV1(StagedBackbone):
    """Network for phones: grouped 1x1 convolutions, whose channels are shuffled so that the groups mix.

    Zhang et al., "ShuffleNet: An extremely efficient convolutional neural network for mobile devices", 2017.
    Three stages, at an eighth, a 16th and a 32nd of the image's size; stage i has `depths[i]` units of
    `widths[i]` channels. Parameters have mmpretrain's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1707.01083"

    def __init__(
        self,
        in_channels: int,
        *,
        groups: PositiveInt = 3,
        stem_channels: PositiveInt = 24,
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (240, 480, 960),
        depths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (4, 8, 4),
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        check_widths(stem_channels, widths, depths, groups)
        super().__init__(
            widths,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        make_unit = partial(ShuffleUnit, groups=groups, norm=norm, activation=activation)
        self.conv1 = conv_norm(in_channels, stem_channels, 3, norm=norm, stride=2)
        self.conv1.append(make_activation(activation))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layers = nn.ModuleList()
        channels = stem_channels
        for index, (width, depth) in enumerate(zip(widths[: self.depth], depths[: self.depth], strict=True)):
            # The very first 1x1 convolution is not grouped: its input has few channels (Table 1).
            first = make_unit(channels, width, stride=2, first_groups=1 if index == 0 else groups)
            self.layers.append(nn.Sequential(first, *(make_unit(width, width) for _ in range(depth - 1))))
            channels = width
        self.initialize()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[self.conv1, self.maxpool], *([stage] for stage in self.layers)]

    def initialize(self) -> None:
        """Draw new weights, as the authors' code does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=1 / module.weight.shape[1])
        nn.init.normal_(self.conv1.get_parameter("conv.weight"), std=0.01)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3 and grouped 1x1 convolutions, and a shortcut (the paper's figure 2).

    With stride 2 the shortcut is an average pooling, whose channels are not added but come first in the
    output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        groups: int,
        norm: Norm,
        activation: Activation,
        stride: int = 1,
        first_groups: int | None = None,
    ) -> None:
        super().__init__()
        hidden = out_channels // 4
        added = out_channels if stride == 1 else out_channels - in_channels
        self.g_conv_1x1_compress = conv_norm(in_channels, hidden, 1, norm=norm, groups=first_groups or groups)
        self.g_conv_1x1_compress.append(make_activation(activation))
        self.shuffle = nn.ChannelShuffle(groups)
        self.depthwise_conv3x3_bn = conv_norm(hidden, hidden, 3, norm=norm, stride=stride, groups=hidden)
        self.g_conv_1x1_expand = conv_norm(hidden, added, 1, norm=norm, groups=groups)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.act = make_activation(activation)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.shuffle(self.depthwise_conv3x3_bn(self.g_conv_1x1_compress(features)))
        residual = self.g_conv_1x1_expand(hidden)
        if self.pool is not None:
            return torch.cat([self.pool(features), self.act(residual)], dim=1)
        output: Tensor = self.act(features + residual)
        return output


def check_widths(stem_channels: int, widths: Sequence[int], depths: Sequence[int], groups: int) -> None:
    """Raise ValueError when the channels of the stem and the stages cannot be grouped."""
    if len(widths) != len(depths):
        raise ValueError(
            f"ShuffleNetV1 needs as many depths as widths, got {len(depths)} depths and {len(widths)} widths"
        )
    # A unit's hidden channels, a quarter of its output, are grouped.
    if any(width % (4 * groups) for width in widths):
        raise ValueError(
            f"ShuffleNetV1 with {groups} groups needs widths that are multiples of {4 * groups}, "
            f"got {list(widths)}"
        )
    if stem_channels % groups:
        raise ValueError(
            f"ShuffleNetV1 with {groups} groups needs stem_channels that are a multiple of {groups}, "
            f"got {stem_channels}"
        )
    if any(wider <= width for width, wider in pairwise((stem_channels, *widths))):
        raise ValueError(
            f"ShuffleNetV1 needs widths that increase from stem_channels, {stem_channels}, got {list(widths)}"
        )


# The paper's Table 1: more groups make more channels for the same cost.
shufflenet_v1_g1_x1_0 = partial(ShuffleNetV1, groups=1, widths=(144, 288, 576))
shufflenet_v1_g2_x1_0 = partial(ShuffleNetV1, groups=2, widths=(200, 400, 800))
shufflenet_v1_g4_x1_0 = partial(ShuffleNetV1, groups=4, widths=(272, 544, 1088))
shufflenet_v1_g8_x1_0 = partial(ShuffleNetV1, groups=8, widths=(384, 768, 1536))
# Three groups, and all channels scaled (section 3.3).
shufflenet_v1_x0_5 = partial(ShuffleNetV1, groups=3, stem_channels=12, widths=(120, 240, 480))
shufflenet_v1_x1_0 = partial(ShuffleNetV1, groups=3, stem_channels=24, widths=(240, 480, 960))
shufflenet_v1_x1_5 = partial(ShuffleNetV1, groups=3, stem_channels=36, widths=(360, 720, 1440))
shufflenet_v1_x2_0 = partial(ShuffleNetV1, groups=3, stem_channels=48, widths=(480, 960, 1920))
