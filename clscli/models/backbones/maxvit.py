"""MaxViT, adapted from torchvision."""

from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.maxvit import MaxVit as TorchvisionMaxVit

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import with_in_channels
from clscli.models.fields import Count, PositiveInt, Rate

PerStage = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class MaxViT(StagedBackbone):
    """Transformer with two kinds of attention, in windows and over a grid of the whole map, after convolutions.

    Tu et al., "MaxViT: Multi-axis vision transformer", 2022. Every stage but the last halves the map, after
    a stem that halves the image; the last averages the map to a vector, and has the paper's norm and hidden
    layer before the head. `block_layers` and `block_channels` are the layers and channels of each stage,
    `partition_size` is the side of both windows and grid, in pixels of the map. Images must be `input_size`
    pixels high and wide, a multiple of `partition_size` at every stage. Parameters have torchvision's names.

    torchvision scales attention by the width of the layer and pools shortcuts with a larger window than the
    paper's authors, so that their weights, and timm's, do not fit.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2204.01697"

    def __init__(
        self,
        in_channels: int,
        *,
        input_size: PositiveInt = 224,
        stem_channels: PositiveInt = 64,
        block_channels: PerStage = (64, 128, 256, 512),
        block_layers: PerStage = (2, 2, 5, 2),
        head_dim: PositiveInt = 32,
        partition_size: PositiveInt = 7,
        attention_dropout: Rate = 0.0,
        mlp_dropout: Rate = 0.0,
        drop_path_rate: Rate = 0.2,  # the paper's appendix, for T on ImageNet-1k
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        check_structure(block_channels, block_layers, head_dim, input_size, partition_size)
        super().__init__(
            [*block_channels, block_channels[-1]],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.input_size = input_size
        model = TorchvisionMaxVit(
            input_size=(input_size, input_size),
            stem_channels=stem_channels,
            partition_size=partition_size,
            block_channels=list(block_channels),
            block_layers=list(block_layers),
            head_dim=head_dim,
            stochastic_depth_prob=drop_path_rate,
            attention_dropout=attention_dropout,
            mlp_dropout=mlp_dropout,
            num_classes=1,
        )
        self.stem = model.stem
        self.stem[0][0] = with_in_channels(self.stem[0][0], in_channels)
        nn.init.normal_(self.stem[0][0].weight, std=0.02)
        self.blocks = model.blocks[: self.depth]
        self.has_vector = self.depth > len(block_channels)
        if self.has_vector:
            # Without its classifier.5, which is the head here.
            self.classifier: nn.Sequential = model.classifier[:5]
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        parts = [[self.stem], *([*block.layers] for block in self.blocks)]
        if self.has_vector:
            parts.append([self.classifier])
        return parts

    def check_size(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if (height, width) != (self.input_size, self.input_size):
            raise ValueError(
                f"MaxViT needs images of {self.input_size}x{self.input_size} pixels, its input_size, "
                f"got {height}x{width}"
            )


def check_structure(
    channels: tuple[int, ...], layers: tuple[int, ...], head_dim: int, input_size: int, partition_size: int
) -> None:
    """Raise ValueError in the words of MaxViT's parameters."""
    if len(channels) != len(layers):
        raise ValueError(
            f"MaxViT needs as many block_channels as block_layers, got {len(channels)} and {len(layers)}"
        )
    for width in channels:
        if width % head_dim:
            raise ValueError(
                f"MaxViT needs block_channels that are multiples of head_dim, got {width} and {head_dim}"
            )
    multiple = partition_size * 2 ** (len(channels) + 1)
    if input_size % multiple:
        raise ValueError(f"MaxViT needs an input_size that is a multiple of {multiple}, got {input_size}")


maxvit_t = partial(MaxViT, block_channels=(64, 128, 256, 512), block_layers=(2, 2, 5, 2))
