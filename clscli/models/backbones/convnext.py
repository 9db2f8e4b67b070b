"""ConvNeXt, adapted from torchvision."""

from functools import partial
from typing import Annotated

from pydantic import Field
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

from clscli.models.backbones.stages import StagedBackbone

PositiveInt = Annotated[int, Field(ge=1)]


class ConvNeXt(StagedBackbone):
    """Convolutional network built like a transformer: 7x7 depthwise convolutions, layer norm and GELU.

    Liu et al., "A ConvNet for the 2020s", 2022. Four stages return maps; a fifth, the last, averages the
    fourth's map to a vector and normalises it, in this order as in the paper, so it goes straight to a
    linear head. `depths` and `widths` are the blocks and channels of each stage, `drop_path_rate` is the
    chance that the last block is skipped for an image in training, less for earlier blocks, and
    `layer_scale` is where the weight of each block's residual starts. Parameters have torchvision's names.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        depths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] = (3, 3, 9, 3),
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] = (96, 192, 384, 768),
        drop_path_rate: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        layer_scale: Annotated[float, Field(gt=0)] = 1e-6,
        frozen_stages: Annotated[int, Field(ge=0)] = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        if len(depths) != len(widths):
            raise ValueError(
                f"ConvNeXt needs as many depths as widths, got {len(depths)} depths and {len(widths)} widths"
            )
        super().__init__([*widths, widths[-1]], out_indices=out_indices, frozen_stages=frozen_stages)
        self.num_maps = min(self.depth, len(widths))
        stages = [CNBlockConfig(*stage) for stage in zip(widths, (*widths[1:], None), depths, strict=True)]
        model = models.ConvNeXt(stages, drop_path_rate, layer_scale, num_classes=1)

        # torchvision's chain: the stem, then blocks and downsampling by turns.
        self.features: nn.Sequential = model.features[: 2 * self.num_maps]
        self.features[0][0] = make_stem_convolution(in_channels, widths[0])
        self.has_vector = self.depth > len(widths)
        if self.has_vector:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            # The final norm keeps torchvision's name, classifier.0; its classifier.2 is the head here.
            self.classifier: nn.Sequential = model.classifier[:1]
            self.flatten = nn.Flatten()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stem, *blocks = list(self.features)
        parts = [
            [stem],
            blocks[:1],
            *(blocks[2 * index - 1 : 2 * index + 1] for index in range(1, self.num_maps)),
        ]
        if self.has_vector:
            parts.append([self.avgpool, self.classifier, self.flatten])
        return parts


def make_stem_convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Make torchvision's first convolution, which is for three channels only, for any number of them."""
    conv = nn.Conv2d(in_channels, out_channels, 4, stride=4)
    nn.init.trunc_normal_(conv.weight, std=0.02)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


# 0.1: the paper's Table 5, for training on ImageNet-1k.
convnext_tiny = partial(ConvNeXt, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), drop_path_rate=0.1)
