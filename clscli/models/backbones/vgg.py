"""VGG networks, with and without batch norm."""

from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from clscli.models.backbones.stages import StagedBackbone

Layers = tuple[Annotated[int, Field(ge=1)] | Literal["M"], ...]

# Table 1 of the paper, columns A, B, D and E: the channels of each convolution, and "M" for a max pooling.
A: Layers = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
B: Layers = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
D: Layers = (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M")
E: Layers = (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M")


class VGG(StagedBackbone):
    """Plain chain of 3x3 convolutions, max poolings and two wide fully connected layers.

    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014.
    `layers` gives the channels of each convolution, and "M" for a max pooling, which ends a stage. With
    `fully_connected` one more stage follows, the last: the paper's two layers of 4096, which makes a vector
    for a linear head. Without it, add a pooling neck. As in torchvision, maps are pooled to 7x7 before that
    stage, so images may have any size from 32x32. Parameters have torchvision's names.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        layers: Layers = D,
        batch_norm: bool = False,
        fully_connected: bool = True,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        norm_eval: bool = False,
        frozen_stages: Annotated[int, Field(ge=0)] = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        map_channels = channels_of_maps(layers)
        super().__init__(
            [*map_channels, 4096] if fully_connected else map_channels,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
        )
        convolutions: list[nn.Module] = []
        self.ends = [0]
        for width in layers:
            if len(self.ends) > self.depth:
                break
            if width == "M":
                convolutions.append(nn.MaxPool2d(2))
                self.ends.append(len(convolutions))
            else:
                convolutions += make_convolution(in_channels, width, batch_norm)
                in_channels = width
        self.features = nn.Sequential(*convolutions)

        self.has_classifier = self.depth > len(map_channels)
        if self.has_classifier:
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.flatten = nn.Flatten()
            # Ends before torchvision's classifier.6, which is the head here.
            self.classifier = nn.Sequential(
                *(nn.Linear(in_channels * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout)),
                *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            )
        self.initialize()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        features = list(self.features)
        parts: list[list[nn.Module]] = [[], *(features[start:end] for start, end in pairwise(self.ends))]
        if self.has_classifier:
            parts.append([self.avgpool, self.flatten, self.classifier])
        return parts

    def initialize(self) -> None:
        """Draw new weights; the paper's own scheme cannot train the deeper variants from scratch."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def make_convolution(in_channels: int, out_channels: int, batch_norm: bool) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return [conv, *norm, nn.ReLU(inplace=True)]


def channels_of_maps(layers: Layers) -> list[int]:
    """Return the channels before each "M", the end of a stage."""
    if not layers or layers[-1] != "M":
        raise ValueError(f'VGG needs layers that end with "M", a max pooling, got {list(layers)}')
    channels: list[int] = []
    for before, layer in pairwise(("M", *layers)):
        if before == layer == "M":
            raise ValueError(f'VGG needs a convolution before every "M" in layers, got {list(layers)}')
        if layer == "M" and before != "M":
            channels.append(before)
    return channels


vgg11 = partial(VGG, layers=A)
vgg13 = partial(VGG, layers=B)
vgg16 = partial(VGG, layers=D)
vgg19 = partial(VGG, layers=E)
vgg11_bn = partial(VGG, layers=A, batch_norm=True)
vgg13_bn = partial(VGG, layers=B, batch_norm=True)
vgg16_bn = partial(VGG, layers=D, batch_norm=True)
vgg19_bn = partial(VGG, layers=E, batch_norm=True)
