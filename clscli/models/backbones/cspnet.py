"""CSPNet: residual networks whose stages transform only half of the channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from clscli.models.backbones.resnet import Kinds, initialize
from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.convolutions import Conv, make_conv
from clscli.models.layers.drop_path import DropPath, drop_path_rates
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.matching import KeyMap


class ConvLayer(nn.Sequential):
    """Convolution, norm, and activation unless it is `linear`. The layers have timm's names."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        kinds: Kinds,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = make_conv(kinds["conv"], in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.bn = make_norm(kinds["norm"], out_channels)
        self.act = nn.Identity() if linear else make_activation(kinds["activation"])


class DarknetBlock(nn.Module):
    """1x1 and 3x3 convolutions and a shortcut, with nothing after the sum (Redmon and Farhadi, 2018)."""

    last_norm = "conv2.bn"

    def __init__(self, channels: int, hidden: int, kinds: Kinds, *, groups: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, hidden, 1, kinds)
        self.conv2 = ConvLayer(hidden, channels, 3, kinds, groups=groups)
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.drop_path(self.conv2(self.conv1(features)))
        return residual + features


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut, of the same number of channels at both ends."""

    last_norm = "conv3.bn"

    def __init__(self, channels: int, hidden: int, kinds: Kinds, *, groups: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, hidden, 1, kinds)
        self.conv2 = ConvLayer(hidden, hidden, 3, kinds, groups=groups)
        self.conv3 = ConvLayer(hidden, channels, 1, kinds, linear=True)
        self.drop_path = DropPath(drop_path)
        self.act = make_activation(kinds["activation"])

    def forward(self, features: Tensor) -> Tensor:
        residual = self.drop_path(self.conv3(self.conv2(self.conv1(features))))
        output: Tensor = self.act(residual + features)
        return output


BLOCKS: dict[str, type[DarknetBlock | Bottleneck]] = {"darknet": DarknetBlock, "bottleneck": Bottleneck}


@dataclass(frozen=True)
class StageDesign:
    """What one stage is made of."""

    block: type[DarknetBlock | Bottleneck]
    in_channels: int
    out_channels: int
    stride: int
    half: int  # channels that the blocks take and give
    hidden: int  # channels inside a block
    groups: int
    drop_paths: Sequence[float]  # one for each block


class CrossStage(nn.Module):
    """Stage that sends half of the channels through its blocks and joins them with the other half at the end."""

    def __init__(self, design: StageDesign, kinds: Kinds) -> None:
        super().__init__()
        is_darknet = design.block is DarknetBlock
        channels, half = design.in_channels, design.half
        self.conv_down: nn.Module = nn.Identity()
        if design.stride > 1:
            # Darknet widens where it halves the map, ResNets in the convolution after that.
            down = design.out_channels if is_darknet else channels
            self.conv_down = ConvLayer(channels, down, 3, kinds, stride=design.stride, groups=design.groups)
            channels = down
        self.conv_exp = ConvLayer(channels, 2 * half, 1, kinds, linear=not is_darknet)
        self.blocks = nn.Sequential(
            *(
                design.block(half, design.hidden, kinds, groups=design.groups, drop_path=rate)
                for rate in design.drop_paths
            )
        )
        self.conv_transition_b = ConvLayer(half, half, 1, kinds)
        self.conv_transition = ConvLayer(2 * half, design.out_channels, 1, kinds)

    def forward(self, features: Tensor) -> Tensor:
        passed, transformed = self.conv_exp(self.conv_down(features)).chunk(2, dim=1)
        transformed = self.conv_transition_b(self.blocks(transformed))
        output: Tensor = self.conv_transition(torch.cat([passed, transformed], dim=1))
        return output


class CSPNet(StagedBackbone):
    """ResNet or ResNeXt whose stages send half of the channels past their blocks: less work, as accurate.

    Wang et al., "CSPNet: A new backbone that can enhance learning capability of CNN", 2020. Stage i has
    `layers[i]` blocks and `channels[i]` channels. Before the blocks the map has `expand_ratios[i]` times as
    many, of which one half goes through the blocks; inside a block there are `bottle_ratios[i]` times as
    many as in that half. The 3x3 convolutions of a stage have `groups` groups.

    `block` "darknet" begins with one 3x3 convolution, and every stage halves the map; "bottleneck" begins
    with a 7x7 convolution and a max pooling, and every stage but the first halves the map.
    `zero_init_residual` starts every block as the identity. Parameters have timm's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1911.11929"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            (r"^stem\.(0\.)?(conv|bn)\.", r"stem.conv1.\2."),
            (r"\.downsample_conv\.", ".conv_down."),
            (r"\.expand_conv\.", ".conv_exp."),
            (r"\.atfer_blocks_conv\.", ".conv_transition_b."),
            (r"\.final_conv\.", ".conv_transition."),
            (r"\.blocks\.(\d+)\.conv(\d)\.weight$", r".blocks.\1.conv\2.conv.weight"),
            (r"\.blocks\.(\d+)\.bn(\d)\.", r".blocks.\1.conv\2.bn."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        block: Literal["darknet", "bottleneck"] = "bottleneck",
        layers: tuple[PositiveInt, ...] = (3, 3, 5, 2),
        channels: tuple[PositiveInt, ...] = (128, 256, 512, 1024),
        expand_ratios: tuple[PositiveFloat, ...] = (2.0, 2.0, 2.0, 2.0),
        bottle_ratios: tuple[PositiveFloat, ...] = (0.5, 0.5, 0.5, 0.5),
        groups: PositiveInt = 1,
        stem_channels: PositiveInt = 64,
        zero_init_residual: bool = False,
        drop_path_rate: Rate = 0.0,
        norm: Norm = "batch_norm",
        activation: Activation = "leaky_relu",
        conv: Conv = "conv2d",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        check_lengths(layers=layers, channels=channels, expand_ratios=expand_ratios, bottle_ratios=bottle_ratios)
        super().__init__(
            channels,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        kinds = Kinds(norm=norm, activation=activation, conv=conv)
        self.stem = make_stem(block, in_channels, stem_channels, kinds)
        self.stages = nn.ModuleList()
        rates = iter(drop_path_rates(drop_path_rate, sum(layers)))
        width = stem_channels
        for index in range(self.depth):
            half = max(1, round(expand_ratios[index] * channels[index] / 2))
            design = StageDesign(
                block=BLOCKS[block],
                in_channels=width,
                out_channels=channels[index],
                stride=1 if block == "bottleneck" and index == 0 else 2,
                half=half,
                hidden=max(1, round(bottle_ratios[index] * half)),
                groups=groups,
                drop_paths=[next(rates) for _ in range(layers[index])],
            )
            self.stages.append(CrossStage(design, kinds))
            width = channels[index]
        initialize(self, zero_init_residual=zero_init_residual)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[self.stem], *([stage] for stage in self.stages)]


class CSPDarkNet(CSPNet):
    """Darknet-53, the network of YOLO, whose stages send half of the channels past their blocks.

    Wang et al., "CSPNet: A new backbone that can enhance learning capability of CNN", 2020, on Redmon and
    Farhadi, "YOLOv3: An incremental improvement", 2018. Five stages, from a half to a thirty-second of the
    image's size. All else is as in cspresnet50.
    """


def make_stem(block: str, in_channels: int, channels: int, kinds: Kinds) -> nn.Sequential:
    stem = nn.Sequential()
    if block == "darknet":
        stem.add_module("conv1", ConvLayer(in_channels, channels, 3, kinds))
    else:
        stem.add_module("conv1", ConvLayer(in_channels, channels, 7, kinds, stride=2))
        stem.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
    return stem


def check_lengths(**parameters: Sequence[float]) -> None:
    """Raise ValueError unless there is one value for each stage."""
    lengths = {len(values) for values in parameters.values()}
    if len(lengths) > 1 or 0 in lengths:
        found = ", ".join(f"{len(values)} {name}" for name, values in parameters.items())
        raise ValueError(f"CSPNet needs one of each for every stage, got {found}")


cspdarknet53 = partial(
    CSPDarkNet,
    block="darknet",
    layers=(1, 2, 8, 8, 4),
    channels=(64, 128, 256, 512, 1024),
    expand_ratios=(2.0, 1.0, 1.0, 1.0, 1.0),
    bottle_ratios=(0.5, 1.0, 1.0, 1.0, 1.0),
    stem_channels=32,
)
cspresnet50 = partial(
    CSPNet,
    layers=(3, 3, 5, 2),
    channels=(128, 256, 512, 1024),
    expand_ratios=(2.0, 2.0, 2.0, 2.0),
    bottle_ratios=(0.5, 0.5, 0.5, 0.5),
)
cspresnext50 = partial(
    CSPNet,
    layers=(3, 3, 5, 2),
    channels=(256, 512, 1024, 2048),
    expand_ratios=(1.0, 1.0, 1.0, 1.0),
    bottle_ratios=(1.0, 1.0, 1.0, 1.0),
    groups=32,
)
