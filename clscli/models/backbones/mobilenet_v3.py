"""MobileNetV3, adapted from torchvision."""

from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone

# The first of torchvision's features in each stage: the blocks of stride 2 (Tables 1 and 2 of the paper).
STAGE_STARTS = {"small": (0, 1, 2, 4, 9), "large": (0, 2, 4, 7, 13)}


class MobileNetV3(StagedBackbone):
    """Network for phones: inverted residuals with squeeze-and-excitation and hard swish.

    Howard et al., "Searching for MobileNetV3", 2019. Five stages, each half the size of the one before; the
    last ends with the 1x1 convolution before the paper's pooling. The wide layer after the pooling is the
    head's: ``{ type = "stacked_linear", mid_channels = [1024], activation = "hardswish", dropout = 0.2 }``,
    with 1280 for the large variant. Parameters have torchvision's names; `width_mult` scales all channels,
    to multiples of 8.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        size: Literal["small", "large"] = "large",
        width_mult: Annotated[float, Field(gt=0)] = 1.0,
        norm_eval: bool = False,
        frozen_stages: Annotated[int, Field(ge=0)] = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        build = models.mobilenet_v3_small if size == "small" else models.mobilenet_v3_large
        features = build(weights=None, num_classes=1, width_mult=width_mult).features
        bounds = (*STAGE_STARTS[size], len(features))
        super().__init__(
            [features[end - 1].out_channels for end in bounds[1:]],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
        self.bounds = bounds[: self.depth + 1]
        self.features: nn.Sequential = features[: self.bounds[-1]]
        self.features[0][0] = make_first_convolution(in_channels, features[0].out_channels)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        features = list(self.features)
        return [[], *(features[start:end] for start, end in pairwise(self.bounds))]


def make_first_convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Make torchvision's first convolution, which is for three channels only, for any number of them."""
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return conv


mobilenet_v3_small = partial(MobileNetV3, size="small")
mobilenet_v3_large = partial(MobileNetV3, size="large")
