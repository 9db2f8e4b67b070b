"""LeNet-5, for digits and first experiments."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.matching import KeyMap

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

    paper: ClassVar[str] = "https://doi.org/10.1109/5.726791"
    key_maps: ClassVar[dict[str, KeyMap]] = {
        "mmpretrain": (
            (r"^features\.0\.", "conv1."),
            (r"^features\.3\.", "conv2."),
            (r"^features\.6\.", "conv3."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        activation: Activation = "tanh",
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        stage_channels = (6, 16, 120)
        super().__init__(
            stage_channels,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.min_size = MIN_SIZES[self.depth - 1]
        for index, channels in enumerate(stage_channels[: self.depth]):
            self.add_module(f"conv{index + 1}", nn.Conv2d(in_channels, channels, 5))
            in_channels = channels
        self.activation = make_activation(activation)
        self.pool = nn.AvgPool2d(2)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        return {"head": {"type": "stacked_linear", "mid_channels": [84], "activation": "tanh"}}

    def stem_and_stages(self) -> list[list[nn.Module]]:
        convolutions = [getattr(self, f"conv{index + 1}") for index in range(self.depth)]
        pooled: list[list[nn.Module]] = [[conv, self.activation, self.pool] for conv in convolutions[:2]]
        return [[], *pooled, *([conv, self.activation] for conv in convolutions[2:])]

    def check_size(self, images: Tensor) -> None:
        try:
            super().check_size(images)
        except ValueError as error:  # the digits of MNIST have 28x28 pixels
            raise ValueError(f'{error}: add {{ type = "resize", size = 32 }} to the transforms') from None
