"""MobileNetV3, adapted from torchvision."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from torch import nn
from torchvision import models
from torchvision.models.mobilenetv3 import InvertedResidualConfig

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import (
    TIMM_INVERTED_RESIDUALS,
    cut,
    number_through,
    replace_norms,
    with_in_channels,
)
from clscli.models.fields import Count, PositiveFloat
from clscli.models.layers.norms import Norm
from clscli.models.matching import KeyMap

Size = Literal["small", "small_050", "large"]

# Tables 1 and 2 of the paper, and timm's network of half the width, which keeps the stem and scales the
# ratio by which a block expands what it is given, not the width inside it. Of each block: input channels,
# kernel, expanded and output channels, whether it has squeeze-and-excitation, the activation (RE is relu,
# HS is hard swish), and the stride.
_BLOCKS: Mapping[Size, tuple[tuple[int, int, int, int, bool, str, int], ...]] = {
    "small": (
        (16, 3, 16, 16, True, "RE", 2),
        (16, 3, 72, 24, False, "RE", 2),
        (24, 3, 88, 24, False, "RE", 1),
        (24, 5, 96, 40, True, "HS", 2),
        (40, 5, 240, 40, True, "HS", 1),
        (40, 5, 240, 40, True, "HS", 1),
        (40, 5, 120, 48, True, "HS", 1),
        (48, 5, 144, 48, True, "HS", 1),
        (48, 5, 288, 96, True, "HS", 2),
        (96, 5, 576, 96, True, "HS", 1),
        (96, 5, 576, 96, True, "HS", 1),
    ),
    "small_050": (
        (16, 3, 16, 8, True, "RE", 2),
        (8, 3, 40, 16, False, "RE", 2),
        (16, 3, 56, 16, False, "RE", 1),
        (16, 5, 64, 24, True, "HS", 2),
        (24, 5, 144, 24, True, "HS", 1),
        (24, 5, 144, 24, True, "HS", 1),
        (24, 5, 72, 24, True, "HS", 1),
        (24, 5, 72, 24, True, "HS", 1),
        (24, 5, 144, 48, True, "HS", 2),
        (48, 5, 288, 48, True, "HS", 1),
        (48, 5, 288, 48, True, "HS", 1),
    ),
    "large": (
        (16, 3, 16, 16, False, "RE", 1),
        (16, 3, 64, 24, False, "RE", 2),
        (24, 3, 72, 24, False, "RE", 1),
        (24, 5, 72, 40, True, "RE", 2),
        (40, 5, 120, 40, True, "RE", 1),
        (40, 5, 120, 40, True, "RE", 1),
        (40, 3, 240, 80, False, "HS", 2),
        (80, 3, 200, 80, False, "HS", 1),
        (80, 3, 184, 80, False, "HS", 1),
        (80, 3, 184, 80, False, "HS", 1),
        (80, 3, 480, 112, True, "HS", 1),
        (112, 3, 672, 112, True, "HS", 1),
        (112, 5, 672, 160, True, "HS", 2),
        (160, 5, 960, 160, True, "HS", 1),
        (160, 5, 960, 160, True, "HS", 1),
    ),
}
# torchvision's features in each stage: from a block of stride 2 to the next.
_SMALL_BOUNDS, _LARGE_BOUNDS = (0, 1, 2, 4, 9, 13), (0, 2, 4, 7, 13, 17)
_BOUNDS: Mapping[Size, tuple[int, ...]] = {
    "small": _SMALL_BOUNDS,
    "small_050": _SMALL_BOUNDS,
    "large": _LARGE_BOUNDS,
}
# The first of them in each of timm's stages; the last is the 1x1 convolution after the blocks.
_SMALL_ROWS, _LARGE_ROWS = (1, 2, 4, 7, 9, 12), (1, 2, 4, 7, 11, 13, 16)


def _place(size: Size, match: re.Match[str]) -> str:
    """Number a layer of a block as torchvision does, which leaves out what the block does not have."""
    number, layer = int(match[1]), match[2]
    if number > len(_BLOCKS[size]):
        return match[0]
    inputs, _, expanded, _, squeezes, *_ = _BLOCKS[size][number - 1]
    layers = [*(["expand"] * (inputs != expanded)), "depthwise", *(["se"] * squeezes), "project"]
    return f"features.{number}.block.{layers.index(layer)}." if layer in layers else match[0]


def _to_torchvision(size: Size) -> KeyMap:
    return (
        (r"^features\.(\d+)\.(expand|depthwise|se|project)\.", partial(_place, size)),
        (r"\.conv\.", ".0."),
        (r"\.norm\.", ".1."),
    )


def _from_timm(size: Size, rows: tuple[int, ...]) -> KeyMap:
    last_row = len(rows) - 1
    return (
        (r"^conv_stem\.", "features.0.conv."),
        (r"^bn1\.", "features.0.norm."),
        (rf"^blocks\.{last_row}\.0\.conv\.", f"features.{rows[-1]}.conv."),
        (rf"^blocks\.{last_row}\.0\.bn1\.", f"features.{rows[-1]}.norm."),
        *TIMM_INVERTED_RESIDUALS,
        (r"\.se\.conv_reduce\.", ".se.fc1."),
        (r"\.se\.conv_expand\.", ".se.fc2."),
        (r"^blocks\.(\d+)\.(\d+)\.", number_through("features.", rows)),
        *_to_torchvision(size),
    )


def _from_mmpretrain(size: Size) -> KeyMap:
    return (
        (r"^layer(\d+)\.", r"features.\1."),
        (r"\.(expand|depthwise)_conv\.", r".\1."),
        (r"\.linear_conv\.", ".project."),
        (r"\.se\.conv([12])\.conv\.", r".se.fc\1."),
        (r"\.bn\.", ".norm."),
        *_to_torchvision(size),
    )


class MobileNetV3(StagedBackbone):
    """Network for phones: inverted residuals with squeeze-and-excitation and hard swish.

    Howard et al., "Searching for MobileNetV3", 2019. Five stages, each half the size of the one before; the
    last ends with the 1x1 convolution before the paper's pooling. The wide layer after the pooling is the
    head's: ``{ type = "stacked_linear", mid_channels = [1024], activation = "hardswish", dropout = 0.2 }``,
    with 1280 for the large variant. `size` "small_050" is timm's small network of half the width, and
    `width_mult` scales all channels of any size, to multiples of 8. Parameters have torchvision's names;
    weights that timm trained want `norm_eps` 1e-5.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1905.02244"
    key_maps: ClassVar[dict[str, KeyMap]] = {  # "small_050" has the layers of "small"
        "timm small": _from_timm("small", _SMALL_ROWS),
        "timm large": _from_timm("large", _LARGE_ROWS),
        "mmpretrain small": _from_mmpretrain("small"),
        "mmpretrain large": _from_mmpretrain("large"),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        size: Size = "large",
        width_mult: PositiveFloat = 1.0,
        norm: Norm = "batch_norm",
        norm_eps: PositiveFloat = 1e-3,
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        features = make_model(size, width_mult, norm_eps).features
        super().__init__(
            [features[end - 1].out_channels for end in _BOUNDS[size][1:]],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.bounds = _BOUNDS[size][: self.depth + 1]
        self.features: nn.Sequential = features[: self.bounds[-1]]
        self.features[0][0] = with_in_channels(features[0][0], in_channels)
        replace_norms(self, norm)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        wide = [1280] if parameters["size"] == "large" else [1024]
        return {
            "head": {"type": "stacked_linear", "mid_channels": wide, "activation": "hardswish", "dropout": 0.2}
        }

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[], *cut(self.features, self.bounds)]


def make_model(size: Size, width_mult: float, norm_eps: float) -> models.MobileNetV3:
    blocks = [InvertedResidualConfig(*block, dilation=1, width_mult=width_mult) for block in _BLOCKS[size]]
    # Section 6.1.1 of the paper: an average decay of 0.99, which PyTorch calls a momentum of 0.01.
    norm = partial(nn.BatchNorm2d, eps=norm_eps, momentum=0.01)
    return models.MobileNetV3(blocks, last_channel=1, num_classes=1, norm_layer=norm)


mobilenet_v3_small = partial(MobileNetV3, size="small")
mobilenet_v3_large = partial(MobileNetV3, size="large")
mobilenet_v3_small_050 = partial(MobileNetV3, size="small_050", norm_eps=1e-5)
