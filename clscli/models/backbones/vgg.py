"""VGG networks, with and without batch norm."""

import re
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.matching import KeyMap

Layers = tuple[PositiveInt | Literal["M"], ...]

# Table 1 of the paper, columns A, B, D and E: the channels of each convolution, and "M" for a max pooling.
A: Layers = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
B: Layers = (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
D: Layers = (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M")
E: Layers = (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M")


class VGG(StagedBackbone):
    """Plain chain of 3x3 convolutions, max poolings and two wide fully connected layers.

    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014.
    `layers` gives the channels of each convolution, and "M" for a max pooling, which ends a stage. With
    `fully_connected` one more stage follows, the last: the paper's two layers of `hidden_channels`, which
    make a vector for a linear head. As in torchvision, maps are pooled to 7x7 before that stage, so images
    may have any size from 32x32. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1409.1556"
    # mmpretrain numbers the convolutions otherwise: `adapt_weights` reads that.
    key_maps: ClassVar[dict[str, KeyMap]] = {
        "timm": ((r"^pre_logits\.fc1\.", "classifier.0."), (r"^pre_logits\.fc2\.", "classifier.3.")),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        layers: Layers = D,
        fully_connected: bool = True,
        hidden_channels: PositiveInt = 4096,
        dropout: Rate = 0.5,
        norm: Norm | None = None,
        activation: Activation = "relu",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        map_channels = channels_of_maps(layers)
        super().__init__(
            [*map_channels, hidden_channels] if fully_connected else map_channels,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.min_size = 2 ** min(self.depth, len(map_channels))
        modules: list[nn.Module] = []
        self.starts: list[int] = []  # of what each of `layers` stands for
        self.ends = [0]
        for width in layers:
            if len(self.ends) > self.depth:
                break
            self.starts.append(len(modules))
            if width == "M":
                modules.append(nn.MaxPool2d(2))
                self.ends.append(len(modules))
            else:
                modules += make_convolution(in_channels, width, norm, activation)
                in_channels = width
        self.features = nn.Sequential(*modules)

        self.has_classifier = self.depth > len(map_channels)
        if self.has_classifier:
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.flatten = nn.Flatten()
            # Ends before torchvision's classifier.6, which is the head here.
            self.classifier = nn.Sequential(
                *(
                    nn.Linear(in_channels * 7 * 7, hidden_channels),
                    make_activation(activation),
                    nn.Dropout(dropout),
                ),
                *(nn.Linear(hidden_channels, hidden_channels), make_activation(activation), nn.Dropout(dropout)),
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

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring a file's weights to the names and shapes of this backbone; called before they are matched."""
        adapted = {}
        for name, tensor in tensors.items():
            if name.startswith("classifier.") and tensor.ndim == 4:  # timm's are convolutions
                tensor = tensor.flatten(1)
            # mmpretrain counts a convolution with its norm and activation as one.
            adapted[re.sub(r"^features\.(\d+)\.(conv|bn)\.", self.own_name, name)] = tensor
        return adapted

    def own_name(self, match: re.Match[str]) -> str:
        """Return our name for mmpretrain's ``features.<index of layers>.<conv or bn>.``."""
        layer = int(match[1])
        if layer >= len(self.starts):
            return match[0]
        return f"features.{self.starts[layer] + (match[2] == 'bn')}."


def make_convolution(
    in_channels: int, out_channels: int, norm: Norm | None, activation: Activation
) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    norms = [make_norm(norm, out_channels)] if norm else []
    return [conv, *norms, make_activation(activation)]


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
vgg11_bn = partial(VGG, layers=A, norm="batch_norm")
vgg13_bn = partial(VGG, layers=B, norm="batch_norm")
vgg16_bn = partial(VGG, layers=D, norm="batch_norm")
vgg19_bn = partial(VGG, layers=E, norm="batch_norm")
