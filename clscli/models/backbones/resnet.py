"""Residual networks: blocks, stems, and the variants by depth, width, cardinality, stem and attention."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypedDict

from pydantic import Field
from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.convolutions import Conv, make_conv
from clscli.models.layers.drop_path import DropPath, drop_path_rates
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.layers.squeeze_excite import SqueezeExcite
from clscli.models.matching import KeyMap

Stem = Literal["imagenet", "cifar", "deep"]
Depths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]

MMPRETRAIN_NAMES: KeyMap = (
    (r"^stem\.0\.conv\.", "conv1.0."),
    (r"^stem\.0\.bn\.", "conv1.1."),
    (r"^stem\.1\.conv\.", "conv1.3."),
    (r"^stem\.1\.bn\.", "conv1.4."),
    (r"^stem\.2\.conv\.", "conv1.6."),
    (r"^stem\.2\.bn\.", "bn1."),
    (r"\.se_layer\.conv(\d)\.conv\.", r".se.fc\1."),
)


class Kinds(TypedDict):
    """What kinds of layers a network is made of."""

    norm: Norm
    activation: Activation
    conv: Conv


RESNET_KINDS = Kinds(norm="batch_norm", activation="relu", conv="conv2d")


class ResidualBlock(nn.Module, ABC):
    """Add a residual of the features to the features, projected where the block changes their shape.

    A subclass computes the `residual`, of `channels` * `expansion` channels, up to its last norm. Squeeze
    and excitation and stochastic depth, where they are used, come after that norm and before the sum.
    """

    expansion: ClassVar[int]
    last_norm: ClassVar[str]  # the norm that makes the block the identity when its weight is zero

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        kinds: Kinds,
        *,
        avg_down: bool = False,
        se_reduction: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.se: nn.Module = nn.Identity()
        if se_reduction is not None:  # at least 8, as timm and mmpretrain have it
            self.se = SqueezeExcite(out_channels, max(8, out_channels // se_reduction))
        self.drop_path = DropPath(drop_path)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = make_projection(in_channels, out_channels, stride, avg_down, kinds)
        self.act_out = make_activation(kinds["activation"])

    @abstractmethod
    def residual(self, features: Tensor) -> Tensor:
        """Compute what is added to the features."""

    def forward(self, features: Tensor) -> Tensor:
        residual = self.drop_path(self.se(self.residual(features)))
        output: Tensor = self.act_out(residual + self.downsample(features))
        return output


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions and a shortcut (He et al., 2015, figure 5 left)."""

    expansion = 1
    last_norm = "bn2"

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, kinds: Kinds = RESNET_KINDS, **common: Any
    ) -> None:
        super().__init__(in_channels, channels, stride, kinds, **common)
        norm, activation, conv = kinds["norm"], kinds["activation"], kinds["conv"]
        self.conv1 = make_conv(conv, in_channels, channels, 3, stride=stride)
        self.bn1 = make_norm(norm, channels)
        self.act1 = make_activation(activation)
        self.conv2 = make_conv(conv, channels, channels, 3)
        self.bn2 = make_norm(norm, channels)

    def residual(self, features: Tensor) -> Tensor:
        residual = self.act1(self.bn1(self.conv1(features)))
        output: Tensor = self.bn2(self.conv2(residual))
        return output


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al., 2015, figure 5 right).

    The 3x3 convolution has the stride, as in torchvision and timm ("v1.5"); in the paper the first 1x1 has
    it. It has `groups` groups (ResNeXt), and for 64 `channels` `width_per_group` channels in each.
    """

    expansion = 4
    last_norm = "bn3"

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        kinds: Kinds = RESNET_KINDS,
        *,
        groups: int = 1,
        width_per_group: int = 64,
        **common: Any,
    ) -> None:
        super().__init__(in_channels, channels, stride, kinds, **common)
        norm, activation, conv = kinds["norm"], kinds["activation"], kinds["conv"]
        width = channels * width_per_group // 64 * groups
        out_channels = channels * self.expansion
        self.conv1 = make_conv(conv, in_channels, width, 1)
        self.bn1 = make_norm(norm, width)
        self.act1 = make_activation(activation)
        self.conv2 = make_conv(conv, width, width, 3, stride=stride, groups=groups)
        self.bn2 = make_norm(norm, width)
        self.act2 = make_activation(activation)
        self.conv3 = make_conv(conv, width, out_channels, 1)
        self.bn3 = make_norm(norm, out_channels)

    def residual(self, features: Tensor) -> Tensor:
        residual = self.act1(self.bn1(self.conv1(features)))
        residual = self.act2(self.bn2(self.conv2(residual)))
        output: Tensor = self.bn3(self.conv3(residual))
        return output


class ResidualNetwork(StagedBackbone):
    """Stem and stages of residual blocks: what ResNet and its relatives with other blocks share.

    Every block is made as `block(in_channels, channels, stride, kinds, drop_path=..., **block_options)`.
    """

    key_maps: ClassVar[Mapping[str, KeyMap]] = {"mmpretrain": MMPRETRAIN_NAMES}

    def __init__(
        self,
        in_channels: int,
        block: type[ResidualBlock],
        block_options: Mapping[str, Any],
        kinds: Kinds,
        *,
        layers: Sequence[int],
        stem: Stem,
        base_channels: int,
        zero_init_residual: bool,
        drop_path_rate: float,
        norm_eval: bool,
        gradient_checkpointing: bool,
        frozen_stages: int,
        out_indices: tuple[int, ...],
    ) -> None:
        widths = [base_channels * 2**index for index in range(len(layers))]
        super().__init__(
            [width * block.expansion for width in widths],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.conv1 = make_stem_convolution(stem, in_channels, base_channels, kinds)
        self.bn1 = make_norm(kinds["norm"], base_channels)
        self.act1 = make_activation(kinds["activation"])
        self.maxpool = nn.Identity() if stem == "cifar" else nn.MaxPool2d(3, stride=2, padding=1)

        rates = iter(drop_path_rates(drop_path_rate, sum(layers)))
        channels = base_channels
        for index in range(self.depth):
            stage = nn.Sequential()
            for position in range(layers[index]):
                stride = 2 if index > 0 and position == 0 else 1
                stage.append(block(channels, widths[index], stride, kinds, drop_path=next(rates), **block_options))
                channels = widths[index] * block.expansion
            self.add_module(f"layer{index + 1}", stage)

        initialize(self, zero_init_residual=zero_init_residual)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stem = [self.conv1, self.bn1, self.act1, self.maxpool]
        return [stem, *([getattr(self, f"layer{index + 1}")] for index in range(self.depth))]


class ResNet(ResidualNetwork):
    """Residual network: stages of convolutions with shortcuts around them.

    He et al., "Deep residual learning for image recognition", 2015. Stage i has `layers[i]` blocks and
    `base_channels` * 2^i channels, four times that with bottleneck blocks; every stage but the first halves
    the map. Parameters have torchvision's names.

    The `stem` is "imagenet": a 7x7 convolution of stride 2 and a max pooling, a quarter of the image's
    size; "deep": three 3x3 convolutions in place of the 7x7; or "cifar": one 3x3 convolution, which keeps
    the size of small images. `avg_down` averages the map in a shortcut before it is projected, instead of
    dropping three of four pixels. The 3x3 convolution of a bottleneck has `groups` groups, each of
    `width_per_group` channels in the first stage. `se_reduction` adds squeeze-and-excitation with that
    ratio of channels to every block. `zero_init_residual` starts every block as the identity (Goyal et al.,
    2017).
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1512.03385"

    def __init__(
        self,
        in_channels: int,
        *,
        block: Literal["basic", "bottleneck"] = "bottleneck",
        layers: Depths = (3, 4, 6, 3),
        stem: Stem = "imagenet",
        base_channels: Annotated[int, Field(ge=2)] = 64,
        groups: PositiveInt = 1,
        width_per_group: PositiveInt = 64,
        avg_down: bool = False,
        se_reduction: PositiveInt | None = None,
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
        options: dict[str, Any] = {"avg_down": avg_down, "se_reduction": se_reduction}
        if block == "bottleneck":
            check_width(type(self).__name__, base_channels, width_per_group)
            options |= {"groups": groups, "width_per_group": width_per_group}
        elif (groups, width_per_group) != (1, 64):
            raise ValueError(
                f"{type(self).__name__} needs bottleneck blocks for other groups and width_per_group than 1 "
                f"and 64, got basic blocks with {groups} and {width_per_group}"
            )
        super().__init__(
            in_channels,
            Bottleneck if block == "bottleneck" else BasicBlock,
            options,
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


class ResNetC(ResNet):
    """ResNet whose first 7x7 convolution is three of 3x3.

    He et al., "Bag of tricks for image classification with convolutional neural networks", 2018; mmpretrain
    calls it ResNetV1c. All else is as in resnet50.
    """

    paper = "https://arxiv.org/abs/1812.01187"


class ResNetD(ResNet):
    """ResNet with three 3x3 convolutions first, and shortcuts that average the map before they project it.

    He et al., "Bag of tricks for image classification with convolutional neural networks", 2018; mmpretrain
    calls it ResNetV1d. All else is as in resnet50.
    """

    paper = "https://arxiv.org/abs/1812.01187"
    # In the first stage, which keeps the size of the map, mmpretrain's shortcut has no pooling to count.
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            *MMPRETRAIN_NAMES,
            (r"^layer1\.0\.downsample\.1\.", "layer1.0.downsample.2."),
            (r"^layer1\.0\.downsample\.0\.", "layer1.0.downsample.1."),
        ),
    }


class ResNeXt(ResNet):
    """ResNet with 3x3 convolutions in groups, so that a block holds many paths at the same cost.

    Xie et al., "Aggregated residual transformations for deep neural networks", 2017. In a name, 32x4d is 32
    `groups` of 4 channels in the first stage. All else is as in resnet50.
    """

    paper = "https://arxiv.org/abs/1611.05431"


class WideResNet(ResNet):
    """ResNet with more channels inside each block, and as many outside: wider instead of deeper.

    Zagoruyko and Komodakis, "Wide residual networks", 2016. The bottlenecks of wide_resnet50_2 are twice as
    wide. All else is as in resnet50.
    """

    paper = "https://arxiv.org/abs/1605.07146"


class SEResNet(ResNet):
    """ResNet or ResNeXt that weighs the channels of every block by what the whole map holds.

    Hu et al., "Squeeze-and-excitation networks", 2018. All else is as in resnet50.
    """

    paper = "https://arxiv.org/abs/1709.01507"


def check_width(name: str, base_channels: int, width_per_group: int) -> None:
    if base_channels * width_per_group < 64:
        raise ValueError(
            f"{name} needs base_channels * width_per_group of at least 64, for one channel in a group, "
            f"got {base_channels} * {width_per_group}"
        )


def make_stem_convolution(stem: Stem, in_channels: int, channels: int, kinds: Kinds) -> nn.Module:
    """Make the layers that torchvision and timm both call `conv1`."""
    norm, activation, conv = kinds["norm"], kinds["activation"], kinds["conv"]
    if stem == "imagenet":
        return make_conv(conv, in_channels, channels, 7, stride=2)
    if stem == "cifar":
        return make_conv(conv, in_channels, channels, 3)
    half = channels // 2
    return nn.Sequential(
        *(make_conv(conv, in_channels, half, 3, stride=2), make_norm(norm, half), make_activation(activation)),
        *(make_conv(conv, half, half, 3), make_norm(norm, half), make_activation(activation)),
        make_conv(conv, half, channels, 3),
    )


def make_projection(
    in_channels: int, out_channels: int, stride: int, avg_down: bool, kinds: Kinds
) -> nn.Sequential:
    """Bring a block's input to the shape of its output (option B of He et al., 2015)."""
    conv, norm = kinds["conv"], make_norm(kinds["norm"], out_channels)
    if not avg_down:
        return nn.Sequential(make_conv(conv, in_channels, out_channels, 1, stride=stride), norm)
    # A last row or column that fills no window is averaged alone, so that both paths have the same size.
    pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, make_conv(conv, in_channels, out_channels, 1), norm)


def initialize(network: nn.Module, *, zero_init_residual: bool) -> None:
    """Draw new weights (He et al., 2015, "Delving deep into rectifiers").

    `zero_init_residual` sets to zero the weight of what a block names as its `last_norm`.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif zero_init_residual and hasattr(module, "last_norm"):
            nn.init.zeros_(module.get_parameter(f"{module.last_norm}.weight"))


# Table 1 of the paper, by the number of layers.
LAYERS_18 = (2, 2, 2, 2)
LAYERS_34 = (3, 4, 6, 3)
LAYERS_50 = (3, 4, 6, 3)
LAYERS_101 = (3, 4, 23, 3)
LAYERS_152 = (3, 8, 36, 3)

resnet18 = partial(ResNet, block="basic", layers=LAYERS_18)
resnet34 = partial(ResNet, block="basic", layers=LAYERS_34)
resnet50 = partial(ResNet, block="bottleneck", layers=LAYERS_50)
resnet101 = partial(ResNet, block="bottleneck", layers=LAYERS_101)
resnet152 = partial(ResNet, block="bottleneck", layers=LAYERS_152)

resnet50c = partial(ResNetC, layers=LAYERS_50, stem="deep")
resnet101c = partial(ResNetC, layers=LAYERS_101, stem="deep")
resnet152c = partial(ResNetC, layers=LAYERS_152, stem="deep")

resnet18d = partial(ResNetD, block="basic", layers=LAYERS_18, stem="deep", avg_down=True)
resnet34d = partial(ResNetD, block="basic", layers=LAYERS_34, stem="deep", avg_down=True)
resnet50d = partial(ResNetD, layers=LAYERS_50, stem="deep", avg_down=True)
resnet101d = partial(ResNetD, layers=LAYERS_101, stem="deep", avg_down=True)
resnet152d = partial(ResNetD, layers=LAYERS_152, stem="deep", avg_down=True)

resnext50_32x4d = partial(ResNeXt, layers=LAYERS_50, groups=32, width_per_group=4)
resnext101_32x4d = partial(ResNeXt, layers=LAYERS_101, groups=32, width_per_group=4)
resnext101_32x8d = partial(ResNeXt, layers=LAYERS_101, groups=32, width_per_group=8)
resnext101_64x4d = partial(ResNeXt, layers=LAYERS_101, groups=64, width_per_group=4)
resnext152_32x4d = partial(ResNeXt, layers=LAYERS_152, groups=32, width_per_group=4)

wide_resnet50_2 = partial(WideResNet, layers=LAYERS_50, width_per_group=128)
wide_resnet101_2 = partial(WideResNet, layers=LAYERS_101, width_per_group=128)

seresnet18 = partial(SEResNet, block="basic", layers=LAYERS_18, se_reduction=16)
seresnet34 = partial(SEResNet, block="basic", layers=LAYERS_34, se_reduction=16)
seresnet50 = partial(SEResNet, layers=LAYERS_50, se_reduction=16)
seresnet101 = partial(SEResNet, layers=LAYERS_101, se_reduction=16)
seresnet152 = partial(SEResNet, layers=LAYERS_152, se_reduction=16)
seresnext50_32x4d = partial(SEResNet, layers=LAYERS_50, groups=32, width_per_group=4, se_reduction=16)
seresnext101_32x4d = partial(SEResNet, layers=LAYERS_101, groups=32, width_per_group=4, se_reduction=16)
seresnext101_32x8d = partial(SEResNet, layers=LAYERS_101, groups=32, width_per_group=8, se_reduction=16)
seresnext101_64x4d = partial(SEResNet, layers=LAYERS_101, groups=64, width_per_group=4, se_reduction=16)
