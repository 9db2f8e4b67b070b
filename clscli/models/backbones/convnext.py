"""ConvNeXt, adapted from torchvision."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import with_in_channels
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.matching import KeyMap

PerStage = Annotated[tuple[PositiveInt, ...], Field(min_length=2)]


def _downsampling(match: re.Match[str]) -> str:
    return f"features.{2 * int(match[1])}."


def _blocks(match: re.Match[str]) -> str:
    return f"features.{2 * int(match[1]) + 1}."


class ConvNeXt(StagedBackbone):
    """Convolutional network built like a transformer: 7x7 depthwise convolutions, layer norm and GELU.

    Liu et al., "A ConvNet for the 2020s", 2022. Four stages return maps; a fifth, the last, averages the
    fourth's map to a vector and normalises it, in this order as in the paper, so it goes straight to a
    linear head. `depths` and `widths` are the blocks and channels of each stage, `drop_path_rate` is the
    chance that the last block is skipped for an image in training, less for earlier blocks, and
    `layer_scale` is where the weight of each block's residual starts. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2201.03545"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": (
            (r"^stem\.", "features.0."),
            (r"^stages\.(\d+)\.downsample\.", _downsampling),
            (r"^stages\.(\d+)\.blocks\.", _blocks),
            (r"\.gamma$", ".layer_scale"),
            (r"\.conv_dw\.", ".block.0."),
            (r"^(features\.\d+\.\d+)\.norm\.", r"\1.block.2."),
            (r"\.mlp\.fc1\.", ".block.3."),
            (r"\.mlp\.fc2\.", ".block.5."),
            (r"^head\.norm\.", "classifier.0."),
        ),
        "mmpretrain": (
            (r"^downsample_layers\.(\d+)\.", _downsampling),
            (r"^stages\.(\d+)\.", _blocks),
            (r"\.gamma$", ".layer_scale"),
            (r"\.depthwise_conv\.", ".block.0."),
            (r"\.norm\.", ".block.2."),
            (r"\.pointwise_conv1\.", ".block.3."),
            (r"\.pointwise_conv2\.", ".block.5."),
            (r"^norm3\.", "classifier.0."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        depths: PerStage = (3, 3, 9, 3),
        widths: PerStage = (96, 192, 384, 768),
        layer_scale: PositiveFloat = 1e-6,
        drop_path_rate: Rate = 0.0,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        if len(depths) != len(widths):
            raise ValueError(
                f"ConvNeXt needs as many depths as widths, got {len(depths)} depths and {len(widths)} widths"
            )
        super().__init__(
            [*widths, widths[-1]],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.num_maps = min(self.depth, len(widths))
        self.min_size = 4 * 2 ** (self.num_maps - 1)
        stages = [CNBlockConfig(*stage) for stage in zip(widths, (*widths[1:], None), depths, strict=True)]
        model = TorchvisionConvNeXt(stages, drop_path_rate, layer_scale, num_classes=1)

        # torchvision's chain: the stem, then blocks and downsampling by turns.
        self.features: nn.Sequential = model.features[: 2 * self.num_maps]
        self.features[0][0] = with_in_channels(self.features[0][0], in_channels)
        nn.init.trunc_normal_(self.features[0][0].weight, std=0.02)
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

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give layer scales, which other libraries have as vectors (C,), torchvision's shape (C, 1, 1)."""
        return {
            name: tensor.reshape(-1, 1, 1) if name.endswith(".layer_scale") else tensor
            for name, tensor in tensors.items()
        }


# The drop path rates are those of the paper's Table 5, for training on ImageNet-1k.
convnext_tiny = partial(ConvNeXt, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), drop_path_rate=0.1)
convnext_small = partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(96, 192, 384, 768), drop_path_rate=0.4)
convnext_base = partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024), drop_path_rate=0.5)
convnext_large = partial(ConvNeXt, depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536), drop_path_rate=0.5)
