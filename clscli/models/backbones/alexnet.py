"""AlexNet."""

from itertools import pairwise
from typing import ClassVar

from torch import nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation

# Of each stage, which ends with a max pooling: the channels, kernel and stride of its convolutions.
_STAGES = (
    ((64, 11, 4),),
    ((192, 5, 1),),
    ((384, 3, 1), (256, 3, 1), (256, 3, 1)),
)
# The smallest image that leaves at least one pixel after each stage of convolutions.
_MIN_SIZES = (15, 31, 63)


class AlexNet(StagedBackbone):
    """Five convolutions and two wide fully connected layers: the network of 2012, for comparison.

    Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014: the version in one
    column, without local response normalisation. Three stages return maps, 1/8, 1/16 and 1/32 of the
    image's size. The fourth, the last, pools the map to 6x6 and makes a vector of `hidden_channels` with
    two fully connected layers, each after a `dropout`; it goes straight to a linear head. Parameters have
    torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1404.5997"

    def __init__(
        self,
        in_channels: int,
        *,
        hidden_channels: PositiveInt = 4096,
        dropout: Rate = 0.5,
        activation: Activation = "relu",
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            [*(stage[-1][0] for stage in _STAGES), hidden_channels],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            gradient_checkpointing=gradient_checkpointing,
        )
        layers: list[nn.Module] = []
        self.bounds = [0]
        for stage in _STAGES[: self.depth]:
            for channels, kernel_size, stride in stage:
                padding = 2 if kernel_size > 3 else 1
                layers += [
                    nn.Conv2d(in_channels, channels, kernel_size, stride=stride, padding=padding),
                    make_activation(activation),
                ]
                in_channels = channels
            layers.append(nn.MaxPool2d(3, stride=2))
            self.bounds.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.min_size = _MIN_SIZES[len(self.bounds) - 2]

        self.has_classifier = self.depth > len(_STAGES)
        if self.has_classifier:
            self.avgpool = nn.AdaptiveAvgPool2d(6)
            self.flatten = nn.Flatten()
            # Ends before torchvision's classifier.6, which is the head here.
            self.classifier = nn.Sequential(
                *(
                    nn.Dropout(dropout),
                    nn.Linear(in_channels * 6 * 6, hidden_channels),
                    make_activation(activation),
                ),
                *(nn.Dropout(dropout), nn.Linear(hidden_channels, hidden_channels), make_activation(activation)),
            )
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        features = list(self.features)
        parts: list[list[nn.Module]] = [[], *(features[start:end] for start, end in pairwise(self.bounds))]
        if self.has_classifier:
            parts.append([self.avgpool, self.flatten, self.classifier])
        return parts
