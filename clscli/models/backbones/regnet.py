"""RegNet, adapted from torchvision."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn
from torchvision.models.regnet import BlockParams
from torchvision.models.regnet import RegNet as TorchvisionRegNet

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import with_in_channels
from clscli.models.fields import Count, PositiveInt
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.matching import KeyMap

FourStages = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]

# A layer's name in both other libraries, and in torchvision's block.
_LAYERS: KeyMap = (
    (r"\.conv1\.", ".f.a.0."),
    (r"\.bn1\.", ".f.a.1."),
    (r"\.conv2\.", ".f.b.0."),
    (r"\.bn2\.", ".f.b.1."),
    (r"\.conv3\.", ".f.c.0."),
    (r"\.bn3\.", ".f.c.1."),
    (r"\.se\.", ".f.se."),
)


def _from_timm(match: re.Match[str]) -> str:
    stage, block = match[1], int(match[2]) - 1
    return f"trunk_output.block{stage}.block{stage}-{block}."


class RegNet(StagedBackbone):
    """Residual network of plain, regular stages, whose depths and widths a search over many networks found.

    Radosavovic et al., "Designing network design spaces", 2020: RegNetX, and RegNetY, which adds
    squeeze-and-excitation. Stage i has `depths[i]` bottleneck blocks of `widths[i]` channels, in groups of
    `group_width` (one group, where a stage is narrower), and halves the map. `se_ratio` is the width of the
    squeeze relative to the block's input; 0 leaves it out. Parameters have torchvision's names.

    torchvision's variants have its names; those that it lacks, or builds with other widths than the paper's
    authors published (400MF of X, 800MF and 8GF of Y), have timm's.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2003.13678"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": (
            (r"^stem\.conv\.", "stem.0."),
            (r"^stem\.bn\.", "stem.1."),
            (r"^s(\d)\.b(\d+)\.", _from_timm),
            (r"\.conv(\d)\.bn\.", r".bn\1."),
            (r"\.conv(\d)\.conv\.", r".conv\1."),
            *_LAYERS,
            (r"\.downsample\.conv\.", ".proj.0."),
            (r"\.downsample\.bn\.", ".proj.1."),
        ),
        "mmpretrain": (
            (r"^conv1\.", "stem.0."),
            (r"^bn1\.", "stem.1."),
            (r"^layer(\d)\.(\d+)\.", r"trunk_output.block\1.block\1-\2."),
            *_LAYERS,
            (r"\.downsample\.", ".proj."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        depths: FourStages = (1, 2, 7, 12),
        widths: FourStages = (32, 64, 160, 400),
        group_width: PositiveInt = 16,
        se_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0,
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            widths,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        for width in widths:
            if width % min(group_width, width):
                raise ValueError(
                    f"RegNet needs widths that are multiples of group_width, got {width} and {group_width}"
                )
        model = TorchvisionRegNet(
            BlockParams(
                depths=list(depths[: self.depth]),
                widths=list(widths[: self.depth]),
                group_widths=[min(group_width, width) for width in widths[: self.depth]],
                bottleneck_multipliers=[1.0] * self.depth,
                strides=[2] * self.depth,
                se_ratio=se_ratio,
            ),
            num_classes=1,
            norm_layer=partial(make_norm, norm),
            activation=partial(make_activation, activation),
        )
        self.stem = model.stem
        self.stem[0] = with_in_channels(self.stem[0], in_channels)
        self.trunk_output = model.trunk_output
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[self.stem], *([stage] for stage in self.trunk_output)]


# Depths, widths and group widths are those of the paper's appendix, as torchvision or timm rounds the widths.
regnet_x_400mf = partial(RegNet, depths=(1, 2, 7, 12), widths=(32, 64, 160, 400), group_width=16)
regnet_x_800mf = partial(RegNet, depths=(1, 3, 7, 5), widths=(64, 128, 288, 672), group_width=16)
regnet_x_1_6gf = partial(RegNet, depths=(2, 4, 10, 2), widths=(72, 168, 408, 912), group_width=24)
regnet_x_3_2gf = partial(RegNet, depths=(2, 6, 15, 2), widths=(96, 192, 432, 1008), group_width=48)
regnet_x_8gf = partial(RegNet, depths=(2, 5, 15, 1), widths=(80, 240, 720, 1920), group_width=120)
regnet_x_16gf = partial(RegNet, depths=(2, 6, 13, 1), widths=(256, 512, 896, 2048), group_width=128)
regnet_x_32gf = partial(RegNet, depths=(2, 7, 13, 1), widths=(336, 672, 1344, 2520), group_width=168)
regnetx_002 = partial(RegNet, depths=(1, 1, 4, 7), widths=(24, 56, 152, 368), group_width=8)
regnetx_004 = partial(RegNet, depths=(1, 2, 7, 12), widths=(32, 64, 160, 384), group_width=16)
regnetx_006 = partial(RegNet, depths=(1, 3, 5, 7), widths=(48, 96, 240, 528), group_width=24)
regnetx_040 = partial(RegNet, depths=(2, 5, 14, 2), widths=(80, 240, 560, 1360), group_width=40)
regnetx_064 = partial(RegNet, depths=(2, 4, 10, 1), widths=(168, 392, 784, 1624), group_width=56)
regnetx_120 = partial(RegNet, depths=(2, 5, 11, 1), widths=(224, 448, 896, 2240), group_width=112)

# The squeeze is a quarter of the block's input, in all of them.
regnet_y = partial(RegNet, se_ratio=0.25)
regnet_y_400mf = partial(regnet_y, depths=(1, 3, 6, 6), widths=(48, 104, 208, 440), group_width=8)
regnet_y_800mf = partial(regnet_y, depths=(1, 3, 8, 2), widths=(64, 144, 320, 784), group_width=16)
regnet_y_1_6gf = partial(regnet_y, depths=(2, 6, 17, 2), widths=(48, 120, 336, 888), group_width=24)
regnet_y_3_2gf = partial(regnet_y, depths=(2, 5, 13, 1), widths=(72, 216, 576, 1512), group_width=24)
regnet_y_8gf = partial(regnet_y, depths=(2, 4, 10, 1), widths=(224, 448, 896, 2016), group_width=56)
regnet_y_16gf = partial(regnet_y, depths=(2, 4, 11, 1), widths=(224, 448, 1232, 3024), group_width=112)
regnet_y_32gf = partial(regnet_y, depths=(2, 5, 12, 1), widths=(232, 696, 1392, 3712), group_width=232)
regnet_y_128gf = partial(regnet_y, depths=(2, 7, 17, 1), widths=(528, 1056, 2904, 7392), group_width=264)
regnety_002 = partial(regnet_y, depths=(1, 1, 4, 7), widths=(24, 56, 152, 368), group_width=8)
regnety_006 = partial(regnet_y, depths=(1, 3, 7, 4), widths=(48, 112, 256, 608), group_width=16)
regnety_008 = partial(regnet_y, depths=(1, 3, 8, 2), widths=(64, 128, 320, 768), group_width=16)
regnety_040 = partial(regnet_y, depths=(2, 6, 12, 2), widths=(128, 192, 512, 1088), group_width=64)
regnety_064 = partial(regnet_y, depths=(2, 7, 14, 2), widths=(144, 288, 576, 1296), group_width=72)
regnety_080 = partial(regnet_y, depths=(2, 4, 10, 1), widths=(168, 448, 896, 2016), group_width=56)
regnety_120 = partial(regnet_y, depths=(2, 5, 11, 1), widths=(224, 448, 896, 2240), group_width=112)
