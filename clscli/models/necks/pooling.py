"""Necks that turn maps into vectors."""

from torch import Tensor, nn

from clscli.models.layers.outputs import Outputs


class GlobalAveragePooling(nn.Module):
    """Average every map over its height and width.

    Maps (B, C, H, W) become vectors (B, C); vectors pass unchanged. Several outputs are pooled each for
    itself.
    """

    out_channels: int | tuple[int, ...]

    def __init__(self, in_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.out_channels = in_channels if len(in_channels) > 1 else in_channels[0]

    def forward(self, outputs: Outputs) -> Outputs:
        if isinstance(outputs, tuple):
            return tuple(average(output) for output in outputs)
        return average(outputs)


def average(output: Tensor) -> Tensor:
    """Return the mean over all positions: (B, C, H, W) or (B, C) -> (B, C)."""
    return output.mean((2, 3)) if output.ndim == 4 else output
