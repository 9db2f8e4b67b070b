"""EfficientNet and EfficientNetV2, adapted from torchvision."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.efficientnet import EfficientNet as TorchvisionEfficientNet
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import with_in_channels
from clscli.models.fields import Count, PositiveFloat, Rate
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.matching import KeyMap

# Of each group of blocks: expansion, kernel size, stride, channels in, channels out, number of blocks.
Group = tuple[int, int, int, int, int, int]

# Table 1 of Tan and Le, 2019.
B0: tuple[Group, ...] = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)

# S is Table 4 of Tan and Le, 2021, M and L are of the authors' code. The first three groups are fused: one 3x3
# convolution expands, in place of a 1x1 and a depthwise one.
NUM_FUSED = 3
V2: dict[str, tuple[Group, ...]] = {
    "s": (
        (1, 3, 1, 24, 24, 2),
        (4, 3, 2, 24, 48, 4),
        (4, 3, 2, 48, 64, 4),
        (4, 3, 2, 64, 128, 6),
        (6, 3, 1, 128, 160, 9),
        (6, 3, 2, 160, 256, 15),
    ),
    "m": (
        (1, 3, 1, 24, 24, 3),
        (4, 3, 2, 24, 48, 5),
        (4, 3, 2, 48, 80, 5),
        (4, 3, 2, 80, 160, 7),
        (6, 3, 1, 160, 176, 14),
        (6, 3, 2, 176, 304, 18),
        (6, 3, 1, 304, 512, 5),
    ),
    "l": (
        (1, 3, 1, 32, 32, 4),
        (4, 3, 2, 32, 64, 7),
        (4, 3, 2, 64, 96, 7),
        (4, 3, 2, 96, 192, 10),
        (6, 3, 1, 192, 224, 19),
        (6, 3, 2, 224, 384, 25),
        (6, 3, 1, 384, 640, 7),
    ),
}

# Up to which width, the dropout before the head: the authors' for B0 and B1, B2 and B3, B4 and B5, the rest.
DROPOUTS = ((1.0, 0.2), (1.2, 0.3), (1.6, 0.4), (math.inf, 0.5))


def _group(match: re.Match[str]) -> str:
    return f"features.{int(match[1]) + 1}."


# The layers of a block that expands, in mmpretrain's names.
_MMPRETRAIN_BLOCK: KeyMap = (
    (r"\.expand_conv\.conv\.", ".block.0.0."),
    (r"\.expand_conv\.bn\.", ".block.0.1."),
    (r"\.depthwise_conv\.conv\.", ".block.1.0."),
    (r"\.depthwise_conv\.bn\.", ".block.1.1."),
    (r"\.se\.conv(\d)\.conv\.", r".block.2.fc\1."),
    (r"\.linear_conv\.conv\.", ".block.3.0."),
    (r"\.linear_conv\.bn\.", ".block.3.1."),
)
# The same in timm's names, with its stem. Its groups count from 0, torchvision's features from the stem.
_TIMM_BLOCK: KeyMap = (
    (r"^conv_stem\.", "features.0.0."),
    (r"^bn1\.", "features.0.1."),
    (r"^blocks\.(\d)\.", _group),
    (r"\.conv_pw\.", ".block.0.0."),
    (r"(\.\d+)\.bn1\.", r"\1.block.0.1."),
    (r"\.conv_dw\.", ".block.1.0."),
    (r"(\.\d+)\.bn2\.", r"\1.block.1.1."),
    (r"\.se\.conv_reduce\.", ".block.2.fc1."),
    (r"\.se\.conv_expand\.", ".block.2.fc2."),
    (r"\.conv_pwl\.", ".block.3.0."),
    (r"(\.\d+)\.bn3\.", r"\1.block.3.1."),
)


def scaled(groups: Sequence[Group], width_mult: float, depth_mult: float) -> list[Group]:
    """Scale the channels of groups, to multiples of 8, and their numbers of blocks, rounded up."""

    def channels(width: int) -> int:
        adjusted: int = MBConvConfig.adjust_channels(width, width_mult)
        return adjusted

    return [
        (expansion, kernel_size, stride, channels(before), channels(after), math.ceil(blocks * depth_mult))
        for expansion, kernel_size, stride, before, after, blocks in groups
    ]


class InvertedResiduals(StagedBackbone):
    """What both EfficientNets are: a stem, groups of inverted residuals, and a last 1x1 convolution.

    A stage begins with every group that halves the map; the last stage ends with the 1x1 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        groups: Sequence[MBConvConfig | FusedMBConvConfig],
        *,
        last_channels: int,
        norm: Norm,
        norm_eps: float,
        same_padding: bool,
        drop_path_rate: float,
        **options: Any,
    ) -> None:
        # Index 0 of torchvision's features is the stem; the first group keeps its size.
        starts = [index for index, group in enumerate(groups, start=1) if index == 1 or group.stride == 2]
        channels = [groups[start - 2].out_channels for start in starts[1:]]
        super().__init__([*channels, last_channels], **options)
        model = TorchvisionEfficientNet(
            groups,
            dropout=0.0,
            stochastic_depth_prob=drop_path_rate,
            num_classes=1,
            norm_layer=partial(make_norm, norm, eps=norm_eps),
            last_channel=last_channels,
        )
        self.bounds = [*starts, len(model.features)][: self.depth + 1]
        self.features: nn.Sequential = model.features[: self.bounds[-1]]
        self.features[0][0] = with_in_channels(self.features[0][0], in_channels)
        if same_padding:
            pad_as_tensorflow(self.features)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        features = list(self.features)
        return [features[:1], *(features[start:end] for start, end in pairwise(self.bounds))]


class SamePaddingConv2d(nn.Conv2d):
    """Convolution that pads as TensorFlow's "same" does: evenly, or one more at the bottom and the right."""

    def forward(self, features: Tensor) -> Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(features.shape[-2:], self.kernel_size, self.stride, strict=True):
            needed = max(0, (size - 1) // stride * stride + kernel - size)
            padding = [needed // 2, needed - needed // 2, *padding]  # F.pad starts with the last dimension
        return F.conv2d(F.pad(features, padding), self.weight, self.bias, self.stride, groups=self.groups)


def pad_as_tensorflow(features: nn.Sequential) -> None:
    """Replace the convolutions for which that makes a difference: those with a stride."""
    for layers in list(features.modules()):
        for name, conv in layers.named_children():
            if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1):
                padded = SamePaddingConv2d(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel_size,  # type: ignore[arg-type]
                    stride=conv.stride,  # type: ignore[arg-type]
                    groups=conv.groups,
                    bias=False,
                )
                padded.weight = conv.weight
                layers.add_module(name, padded)


class EfficientNet(InvertedResiduals):
    """Inverted residuals with squeeze-and-excitation, made deeper and wider together from B0 to B8.

    Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", 2019; B8 is of
    Xie et al., "Adversarial examples improve image recognition", 2020. `width_mult` scales all channels, to
    multiples of 8, and `depth_mult` the blocks of every group. Five stages, each half the size of the one
    before; the last ends with the 1x1 convolution before the pooling. Parameters have torchvision's names.

    Weights from TensorFlow, which are timm's of names with "tf_" and all of mmpretrain's, need `norm_eps`
    0.001 and `same_padding`, which pads maps of even size at the bottom and the right only.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1905.11946"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": (
            # Blocks of the first group do not expand: their layers come one earlier.
            (r"^(blocks\.0\.\d+)\.conv_dw\.", r"\1.block.0.0."),
            (r"^(blocks\.0\.\d+)\.bn1\.", r"\1.block.0.1."),
            (r"^(blocks\.0\.\d+)\.se\.conv_reduce\.", r"\1.block.1.fc1."),
            (r"^(blocks\.0\.\d+)\.se\.conv_expand\.", r"\1.block.1.fc2."),
            (r"^(blocks\.0\.\d+)\.conv_pw\.", r"\1.block.2.0."),
            (r"^(blocks\.0\.\d+)\.bn2\.", r"\1.block.2.1."),
            (r"^conv_head\.", "features.8.0."),
            (r"^bn2\.", "features.8.1."),
            *_TIMM_BLOCK,
        ),
        "mmpretrain": (
            (r"^layers\.0\.conv\.", "features.0.0."),
            (r"^layers\.0\.bn\.", "features.0.1."),
            (r"^layers\.6\.conv\.", "features.8.0."),
            (r"^layers\.6\.bn\.", "features.8.1."),
            (r"^(layers\.1\.\d+)\.depthwise_conv\.conv\.", r"\1.block.0.0."),
            (r"^(layers\.1\.\d+)\.depthwise_conv\.bn\.", r"\1.block.0.1."),
            (r"^(layers\.1\.\d+)\.se\.conv(\d)\.conv\.", r"\1.block.1.fc\2."),
            (r"^(layers\.1\.\d+)\.linear_conv\.conv\.", r"\1.block.2.0."),
            (r"^(layers\.1\.\d+)\.linear_conv\.bn\.", r"\1.block.2.1."),
            *_MMPRETRAIN_BLOCK,
            (r"^layers\.", "stages."),  # see `adapt_weights`
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        width_mult: PositiveFloat = 1.0,
        depth_mult: PositiveFloat = 1.0,
        norm: Norm = "batch_norm",
        norm_eps: PositiveFloat = 1e-5,
        same_padding: bool = False,
        drop_path_rate: Rate = 0.2,  # section 5.2 of the paper: a survival probability of 0.8
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        groups = scaled(B0, width_mult, depth_mult)
        super().__init__(
            in_channels,
            [MBConvConfig(*group) for group in groups],
            last_channels=4 * groups[-1][-2],
            norm=norm,
            norm_eps=norm_eps,
            same_padding=same_padding,
            drop_path_rate=drop_path_rate,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
            frozen_stages=frozen_stages,
            out_indices=out_indices,
        )

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name blocks by their group, which mmpretrain numbers through a whole stage."""
        names: dict[str, str] = {}
        for stage, (start, end) in enumerate(pairwise(self.bounds), start=1):
            groups = range(start, min(end, len(B0) + 1))
            blocks = [
                f"features.{group}.{block}"
                for group in groups
                for block, _ in self.features[group].named_children()
            ]
            names |= {f"stages.{stage}.{number}": block for number, block in enumerate(blocks)}
        return {rename_start(name, names): tensor for name, tensor in tensors.items()}

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the head of the published model, with more dropout for wider networks."""
        dropout = next(dropout for width, dropout in DROPOUTS if parameters["width_mult"] <= width)
        return {"head": {"type": "linear", "dropout": dropout}}


def rename_start(name: str, names: Mapping[str, str]) -> str:
    """Replace the first three parts of a dotted name, if `names` has them."""
    parts = name.split(".")
    start = ".".join(parts[:3])
    return ".".join([names.get(start, start), *parts[3:]])


class EfficientNetV2(InvertedResiduals):
    """EfficientNet that trains faster: plain 3x3 convolutions in its first stages, and less expansion.

    Tan and Le, "EfficientNetV2: Smaller models and faster training", 2021. Five stages, each half the size
    of the one before; the last ends with the 1x1 convolution before the pooling. `width_mult` scales the
    channels of all others, to multiples of 8, and `depth_mult` the blocks of every group. Parameters have
    torchvision's names.

    Weights from TensorFlow, which are timm's of names with "tf_" and all of mmpretrain's, need
    `same_padding`, which pads maps of even size at the bottom and the right only.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2104.00298"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": (
            (r"^(blocks\.0\.\d+)\.conv\.", r"\1.block.0.0."),
            (r"\.conv_exp\.", ".block.0.0."),
            (r"^(blocks\.[12]\.\d+)\.conv_pwl\.", r"\1.block.1.0."),
            (r"^conv_head\.", "last.0."),  # see `adapt_weights`
            (r"^bn2\.", "last.1."),
            *_TIMM_BLOCK,
        ),
        "mmpretrain": (
            (r"^layers\.(\d+)\.conv\.", r"features.\1.0."),
            (r"^layers\.(\d+)\.bn\.", r"features.\1.1."),
            (r"^layers\.(\d+\.\d+)\.conv\.", r"features.\1.block.0.0."),
            (r"^layers\.(\d+\.\d+)\.bn\.", r"features.\1.block.0.1."),
            (r"^(layers\.\d+\.\d+)\.conv1\.conv\.", r"\1.block.0.0."),
            (r"^(layers\.\d+\.\d+)\.conv1\.bn\.", r"\1.block.0.1."),
            (r"^(layers\.\d+\.\d+)\.conv2\.conv\.", r"\1.block.1.0."),
            (r"^(layers\.\d+\.\d+)\.conv2\.bn\.", r"\1.block.1.1."),
            *_MMPRETRAIN_BLOCK,
            (r"^layers\.", "features."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        size: Literal["s", "m", "l"] = "s",
        width_mult: PositiveFloat = 1.0,
        depth_mult: PositiveFloat = 1.0,
        norm: Norm = "batch_norm",
        norm_eps: PositiveFloat = 1e-3,
        same_padding: bool = False,
        drop_path_rate: Rate = 0.2,  # the paper's code: a survival probability of 0.8
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        groups = scaled(V2[size], width_mult, depth_mult)
        super().__init__(
            in_channels,
            [
                *(FusedMBConvConfig(*group) for group in groups[:NUM_FUSED]),
                *(MBConvConfig(*group) for group in groups[NUM_FUSED:]),
            ],
            last_channels=1280,
            norm=norm,
            norm_eps=norm_eps,
            same_padding=same_padding,
            drop_path_rate=drop_path_rate,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
            frozen_stages=frozen_stages,
            out_indices=out_indices,
        )
        self.num_groups = len(groups)

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name the last convolution, whose number differs by size, where timm's name does not say it."""
        last = f"features.{self.num_groups + 1}."
        return {re.sub(r"^last\.", last, name): tensor for name, tensor in tensors.items()}

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the head of the published model."""
        dropout = {"s": 0.2, "m": 0.3, "l": 0.4}[parameters["size"]]
        return {"head": {"type": "linear", "dropout": dropout}}


# The multipliers of the authors' code, as those of the dropout above.
efficientnet_b0 = partial(EfficientNet, width_mult=1.0, depth_mult=1.0)
efficientnet_b1 = partial(EfficientNet, width_mult=1.0, depth_mult=1.1)
efficientnet_b2 = partial(EfficientNet, width_mult=1.1, depth_mult=1.2)
efficientnet_b3 = partial(EfficientNet, width_mult=1.2, depth_mult=1.4)
efficientnet_b4 = partial(EfficientNet, width_mult=1.4, depth_mult=1.8)
efficientnet_b5 = partial(EfficientNet, width_mult=1.6, depth_mult=2.2, norm_eps=1e-3)
efficientnet_b6 = partial(EfficientNet, width_mult=1.8, depth_mult=2.6, norm_eps=1e-3)
efficientnet_b7 = partial(EfficientNet, width_mult=2.0, depth_mult=3.1, norm_eps=1e-3)
efficientnet_b8 = partial(EfficientNet, width_mult=2.2, depth_mult=3.6, norm_eps=1e-3)

efficientnet_v2_s = partial(EfficientNetV2, size="s")
efficientnet_v2_m = partial(EfficientNetV2, size="m")
efficientnet_v2_l = partial(EfficientNetV2, size="l")
