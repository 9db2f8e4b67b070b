"""SqueezeNet, adapted from torchvision."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from torch import nn
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import cut, replace_activations, with_in_channels
from clscli.models.fields import Count
from clscli.models.layers.activations import Activation

Version = Literal["1_0", "1_1"]

# torchvision's features in the stem and in each stage, which begins with a max pooling.
_BOUNDS: Mapping[Version, tuple[int, ...]] = {"1_0": (0, 2, 6, 11, 13), "1_1": (0, 2, 5, 8, 13)}
_CHANNELS: Mapping[Version, tuple[int, ...]] = {"1_0": (256, 512, 512), "1_1": (128, 256, 512)}
# The smallest image that leaves at least one pixel after each stage; poolings round up, the stem down.
_MIN_SIZES: Mapping[Version, tuple[int, ...]] = {"1_0": (9, 13, 21), "1_1": (5, 9, 17)}


class SqueezeNet(StagedBackbone):
    """Small convolutional network: 1x1 convolutions squeeze the channels before each 3x3 one.

    Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016. `version` "1_0" is
    the paper's network, "1_1" its authors' second one, which computes 2.4 times less and is as accurate.
    Three stages, 1/4, 1/8 and 1/16 of the image's size. In the paper a 1x1 convolution to the classes and a
    ReLU come before the pooling; here a linear head comes after it. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1602.07360"

    def __init__(
        self,
        in_channels: int,
        *,
        version: Version = "1_0",
        activation: Activation = "relu",
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            _CHANNELS[version],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.min_size = _MIN_SIZES[version][self.depth - 1]
        self.bounds = _BOUNDS[version][: self.depth + 2]
        features = models.SqueezeNet(version, num_classes=1).features
        self.features: nn.Sequential = features[: self.bounds[-1]]
        self.features[0] = with_in_channels(features[0], in_channels)
        nn.init.kaiming_uniform_(self.features[0].weight)
        replace_activations(self, activation)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        return {"head": {"type": "linear", "dropout": 0.5}}

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return cut(self.features, self.bounds)


squeezenet1_0 = partial(SqueezeNet, version="1_0")
squeezenet1_1 = partial(SqueezeNet, version="1_1")
