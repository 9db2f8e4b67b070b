"""DenseNet, adapted from torchvision."""

import re
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import replace_activations, replace_norms, with_in_channels
from clscli.models.fields import Count, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.norms import Norm
from clscli.models.matching import KeyMap


def _count_from_one(match: re.Match[str]) -> str:
    return f"{match[1]}{int(match[2]) + 1}."


class DenseNet(StagedBackbone):
    """Convolutional network in which every layer sees the maps of all layers before it in its block.

    Huang et al., "Densely connected convolutional networks", 2017: the version with bottlenecks and
    compression (BC). Stage i is a block of `depths[i]` layers, each of which adds `growth_rate` channels to
    the `stem_channels` that come in; between two blocks a transition halves the channels and the size. A
    layer's bottleneck has `bottleneck_factor` * `growth_rate` channels; `dropout` is applied to what it
    adds. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1608.06993"
    key_maps: ClassVar[dict[str, KeyMap]] = {
        # torchvision's files have older names than its model.
        "torchvision": ((r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),),
        "mmpretrain": (
            (r"^stem\.0\.", "features.conv0."),
            (r"^stem\.1\.", "features.norm0."),
            (r"^transitions\.\d+\.0\.", "features.norm5."),
            (r"^transitions\.", "features.transition."),
            (r"^stages\.(\d+)\.block\.", r"features.denseblock.\1.denselayer."),
            (r"(denselayer)\.(\d+)\.", _count_from_one),
            (r"(transition|denseblock)\.(\d+)\.", _count_from_one),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        growth_rate: PositiveInt = 32,
        depths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (6, 12, 24, 16),
        stem_channels: PositiveInt = 64,
        bottleneck_factor: PositiveInt = 4,
        dropout: Rate = 0.0,
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            channels_of_blocks(stem_channels, growth_rate, depths),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        # The stem quarters the size, rounded up; every transition halves it, rounded down.
        self.min_size = 2 ** (self.depth + 1) - 3
        model = models.DenseNet(
            growth_rate=growth_rate,
            block_config=depths[: self.depth],  # says four, takes any number
            num_init_features=stem_channels,
            bn_size=bottleneck_factor,
            drop_rate=dropout,
            num_classes=1,
        )
        self.features: nn.Sequential = model.features
        self.features.conv0 = with_in_channels(model.features.conv0, in_channels)
        nn.init.kaiming_normal_(self.features.conv0.weight)
        self.is_whole = self.depth == len(depths)
        if self.is_whole:
            self.relu5 = make_activation(activation)
        else:
            del self.features.norm5
        replace_norms(self, norm)
        replace_activations(self, activation)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        layers = dict(self.features.named_children())
        parts = [[layers[f"{name}0"] for name in ("conv", "norm", "relu", "pool")]]
        for number in range(1, self.depth + 1):
            transition = [layers[f"transition{number - 1}"]] if number > 1 else []
            parts.append([*transition, layers[f"denseblock{number}"]])
        if self.is_whole:
            parts[-1] += [layers["norm5"], self.relu5]
        return parts


def channels_of_blocks(stem_channels: int, growth_rate: int, depths: tuple[int, ...]) -> list[int]:
    """Return the channels after each block; transitions halve them before the next one."""
    channels = [stem_channels + depths[0] * growth_rate]
    for num_layers in depths[1:]:
        channels.append(channels[-1] // 2 + num_layers * growth_rate)
    return channels


densenet121 = partial(DenseNet, growth_rate=32, depths=(6, 12, 24, 16), stem_channels=64)
densenet161 = partial(DenseNet, growth_rate=48, depths=(6, 12, 36, 24), stem_channels=96)
densenet169 = partial(DenseNet, growth_rate=32, depths=(6, 12, 32, 32), stem_channels=64)
densenet201 = partial(DenseNet, growth_rate=32, depths=(6, 12, 48, 32), stem_channels=64)
