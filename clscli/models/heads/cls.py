"""A head for backbones that end in logits."""

from torch import Tensor, nn

from clscli.models.layers.outputs import Outputs
from clscli.models.layers.vectors import last_vector


class Cls(nn.Module):
    """No layer at all: the last output already is the logits, one channel for each class.

    For backbones or necks that end in a classifier of their own, for instance a 1x1 convolution to the
    classes followed by a pooling neck.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        if in_channels != num_classes:
            raise ValueError(
                f"it takes features as logits, so it needs one channel for each of the {num_classes} classes, "
                f"got {in_channels} channels"
            )

    def forward(self, outputs: Outputs) -> Tensor:
        return last_vector(outputs, "head 'cls'")
