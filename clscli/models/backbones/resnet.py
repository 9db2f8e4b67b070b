"""Residual networks: blocks, stems, and the variants by depth."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone

PositiveInt = Annotated[int, Field(ge=1)]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 2015, figure 5 left)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = make_shortcut(in_channels, channels, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, features: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu(residual + self.downsample(features))
        return output


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al., 2015, figure 5 right).

    The 3x3 convolution has the stride, as in torchvision and timm ("v1.5"); in the paper the first 1x1 has
    it.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = conv1x1(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = make_shortcut(in_channels, out_channels, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, features: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        output: Tensor = self.relu(residual + self.downsample(features))
        return output


Block = BasicBlock | Bottleneck
BLOCKS: dict[str, type[Block]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(StagedBackbone):
    """Residual network: stages of convolutions with shortcuts around them.

    He et al., "Deep residual learning for image recognition", 2015. Stage i has `layers[i]` blocks and
    `base_channels` * 2^i channels, four times that with bottleneck blocks; every stage but the first halves
    the map. Parameters have torchvision's names.

    The `stem` is "imagenet": a 7x7 convolution of stride 2 and a max pooling, a quarter of the image's
    size; "deep": three 3x3 convolutions in place of the 7x7 (He et al., "Bag of tricks", 2018); or "cifar":
    one 3x3 convolution, which keeps the size of small images. `zero_init_residual` starts every block as
    the identity (Goyal et al., 2017).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        block: Literal["basic", "bottleneck"] = "bottleneck",
        layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (3, 4, 6, 3),
        stem: Literal["imagenet", "cifar", "deep"] = "imagenet",
        base_channels: Annotated[int, Field(ge=2)] = 64,
        zero_init_residual: bool = False,
        norm_eval: bool = False,
        frozen_stages: Annotated[int, Field(ge=0)] = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        block_type = BLOCKS[block]
        widths = [base_channels * 2**index for index in range(len(layers))]
        super().__init__(
            [width * block_type.expansion for width in widths],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
        self.conv1 = make_stem_convolution(stem, in_channels, base_channels)
        self.bn1 = nn.BatchNorm2d(base_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stem == "cifar" else nn.MaxPool2d(3, stride=2, padding=1)

        channels = base_channels
        for index in range(self.depth):
            stride = 1 if index == 0 else 2
            stage = make_stage(block_type, channels, widths[index], layers[index], stride)
            self.add_module(f"layer{index + 1}", stage)
            channels = widths[index] * block_type.expansion

        self.initialize(zero_init_residual)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stem = [self.conv1, self.bn1, self.relu, self.maxpool]
        return [stem, *([getattr(self, f"layer{index + 1}")] for index in range(self.depth))]

    def initialize(self, zero_init_residual: bool) -> None:
        """Draw new weights (He et al., 2015, "Delving deep into rectifiers")."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Block) and zero_init_residual:
                nn.init.zeros_(module.last_norm.weight)


def make_stage(block: type[Block], in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.Sequential:
    """Chain blocks of the same width; the first one has the stride, and a projection if the shape changes."""
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(channels * block.expansion, channels) for _ in range(num_blocks - 1)))


def make_stem_convolution(stem: str, in_channels: int, channels: int) -> nn.Module:
    """Make the layers that torchvision and timm both call `conv1`."""
    if stem == "imagenet":
        return nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False)
    if stem == "cifar":
        return conv3x3(in_channels, channels)
    half = channels // 2
    return nn.Sequential(
        *(conv3x3(in_channels, half, stride=2), nn.BatchNorm2d(half), nn.ReLU(inplace=True)),
        *(conv3x3(half, half), nn.BatchNorm2d(half), nn.ReLU(inplace=True)),
        conv3x3(half, channels),
    )


def make_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Project the input where the block changes its shape, else pass it on (the paper's option B)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


resnet18 = partial(ResNet, block="basic", layers=(2, 2, 2, 2))
resnet34 = partial(ResNet, block="basic", layers=(3, 4, 6, 3))
resnet50 = partial(ResNet, block="bottleneck", layers=(3, 4, 6, 3))
resnet101 = partial(ResNet, block="bottleneck", layers=(3, 4, 23, 3))
resnet152 = partial(ResNet, block="bottleneck", layers=(3, 8, 36, 3))
