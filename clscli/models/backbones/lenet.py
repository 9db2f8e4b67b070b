"""LeNet-5, for digits and first experiments."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.layers.outputs import Outputs

# The smallest image that leaves at least one pixel after each stage.
MIN_SIZES = (6, 16, 32)


class LeNet5(StagedBackbone):
    """Small convolutional network for digits, of 32x32 pixels or more.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998. As there: 5x5
    convolutions to 6, 16 and 120 channels (C1, C3, C5), the first two followed by a 2x2 average pooling
    (S2, S4). Not as there: C3 sees all six maps, poolings have no weights, and tanh is not scaled and comes
    before the pooling. Larger images than 32x32 leave C5 a map instead of a single pixel, so a pooling neck
    is needed.

    The 84 units of F6 are the head's: ``{ type = "stacked_linear", mid_channels = [84], activation = "tanh"
    }``; a linear layer takes the place of the radial basis functions.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        frozen_stages: Annotated[int, Field(ge=0)] = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        stage_channels = (6, 16, 120)
        super().__init__(stage_channels, out_indices=out_indices, frozen_stages=frozen_stages)
        self.tanh = nn.Tanh()
        self.pool = nn.AvgPool2d(2)
        for index, channels in enumerate(stage_channels[: self.depth]):
            self.add_module(f"conv{index + 1}", nn.Conv2d(in_channels, channels, 5))
            in_channels = channels
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        convolutions = [getattr(self, f"conv{index + 1}") for index in range(self.depth)]
        pooled: list[list[nn.Module]] = [[conv, self.tanh, self.pool] for conv in convolutions[:2]]
        return [[], *pooled, *([conv, self.tanh] for conv in convolutions[2:])]

    def forward(self, images: Tensor) -> Outputs:
        height, width = images.shape[-2:]
        min_size = MIN_SIZES[self.depth - 1]
        if min(height, width) < min_size:
            raise ValueError(
                f"LeNet5 needs images of at least {min_size}x{min_size} pixels, got {height}x{width}: "
                'add { type = "resize", size = 32 } to the transforms'
            )
        return super().forward(images)
