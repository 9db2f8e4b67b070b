"""Res2Net: residual networks whose blocks see several scales."""

from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from clscli.models.backbones.resnet import (
    LAYERS_50,
    LAYERS_101,
    Depths,
    Kinds,
    ResidualBlock,
    ResidualNetwork,
    Stem,
)
from clscli.models.fields import Count, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.convolutions import Conv, make_conv
from clscli.models.layers.norms import Norm, make_norm


class Bottle2neck(ResidualBlock):
    """Bottleneck whose 3x3 convolution is a hierarchy of smaller ones (Gao et al., 2019, figure 2b).

    The channels are split in `scales` parts. All parts but the last go through a 3x3 convolution, each
    after the output of the one before has been added to it. In the block that changes the shape of the map,
    nothing is added, and the last part is averaged instead of passed on.
    """

    expansion = 4
    last_norm = "bn3"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        kinds: Kinds,
        *,
        scales: int,
        base_width: int,
        groups: int,
        **common: Any,
    ) -> None:
        super().__init__(in_channels, channels, stride, kinds, **common)
        norm, activation, conv = kinds["norm"], kinds["activation"], kinds["conv"]
        width = channels * base_width // 64 * groups
        out_channels = channels * self.expansion
        self.scales = scales
        self.changes_shape = not isinstance(self.downsample, nn.Identity)
        self.conv1 = make_conv(conv, in_channels, width * scales, 1)
        self.bn1 = make_norm(norm, width * scales)
        self.act1 = make_activation(activation)
        self.convs = nn.ModuleList(
            make_conv(conv, width, width, 3, stride=stride, groups=groups) for _ in range(scales - 1)
        )
        self.bns = nn.ModuleList(make_norm(norm, width) for _ in range(scales - 1))
        self.acts = nn.ModuleList(make_activation(activation) for _ in range(scales - 1))
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1) if self.changes_shape else nn.Identity()
        self.conv3 = make_conv(conv, width * scales, out_channels, 1)
        self.bn3 = make_norm(norm, out_channels)

    def residual(self, features: Tensor) -> Tensor:
        *parts, last = self.act1(self.bn1(self.conv1(features))).chunk(self.scales, dim=1)
        outputs: list[Tensor] = []
        for part, conv, norm, act in zip(parts, self.convs, self.bns, self.acts, strict=True):
            scale = part if self.changes_shape or not outputs else part + outputs[-1]
            outputs.append(act(norm(conv(scale))))
        output: Tensor = self.bn3(self.conv3(torch.cat([*outputs, self.pool(last)], dim=1)))
        return output


class Res2Net(ResidualNetwork):
    """ResNet whose blocks chain small 3x3 convolutions, to see several scales at once.

    Gao et al., "Res2Net: A new multi-scale backbone architecture", 2019. In a name, 26w_4s is `scales` 4 of
    `base_width` 26 channels in the first stage; res2next50 has 8 `groups` of 4. The "d" variants, which the
    authors call v1b, have the stem and the shortcuts of ResNet-D. `layers`, `stem`, `base_channels`,
    `avg_down` and `zero_init_residual` are as in ResNet. Parameters have timm's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1904.01169"

    def __init__(
        self,
        in_channels: int,
        *,
        layers: Depths = LAYERS_50,
        scales: Annotated[int, Field(ge=2)] = 4,
        base_width: PositiveInt = 26,
        groups: PositiveInt = 1,
        stem: Stem = "imagenet",
        base_channels: Annotated[int, Field(ge=2)] = 64,
        avg_down: bool = False,
        zero_init_residual: bool = False,
        drop_path_rate: Rate = 0.0,
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        conv: Conv = "conv2d",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        if base_channels * base_width < 64:
            raise ValueError(
                "Res2Net needs base_channels * base_width of at least 64, for one channel in a scale, "
                f"got {base_channels} * {base_width}"
            )
        super().__init__(
            in_channels,
            Bottle2neck,
            {"scales": scales, "base_width": base_width, "groups": groups, "avg_down": avg_down},
            Kinds(norm=norm, activation=activation, conv=conv),
            layers=layers,
            stem=stem,
            base_channels=base_channels,
            zero_init_residual=zero_init_residual,
            drop_path_rate=drop_path_rate,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
            frozen_stages=frozen_stages,
            out_indices=out_indices,
        )


res2net50_26w_4s = partial(Res2Net, layers=LAYERS_50, base_width=26, scales=4)
res2net50_26w_6s = partial(Res2Net, layers=LAYERS_50, base_width=26, scales=6)
res2net50_26w_8s = partial(Res2Net, layers=LAYERS_50, base_width=26, scales=8)
res2net50_48w_2s = partial(Res2Net, layers=LAYERS_50, base_width=48, scales=2)
res2net50_14w_8s = partial(Res2Net, layers=LAYERS_50, base_width=14, scales=8)
res2net101_26w_4s = partial(Res2Net, layers=LAYERS_101, base_width=26, scales=4)
res2next50 = partial(Res2Net, layers=LAYERS_50, base_width=4, groups=8, scales=4)
res2net50d = partial(Res2Net, layers=LAYERS_50, base_width=26, scales=4, stem="deep", avg_down=True)
res2net101d = partial(Res2Net, layers=LAYERS_101, base_width=26, scales=4, stem="deep", avg_down=True)
