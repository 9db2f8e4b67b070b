"""A neck between mean and maximum."""

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn


class LogSumExpPooling(nn.Module):
    """Turn the last map into a vector, by something between the mean and the maximum of each channel.

    Pinheiro and Collobert, "From image-level to pixel-level labeling with convolutional networks", 2015. The
    smaller `sharpness`, the nearer to the mean; the larger, the nearer to the maximum.
    """

    def __init__(
        self, in_channels: int, *, sharpness: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    ) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.out_channels = in_channels

    def forward(self, outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Turn maps (B, C, H, W), or the last of several, into vectors (B, C)."""
        maps = outputs if isinstance(outputs, Tensor) else outputs[-1]
        places = (self.sharpness * maps).flatten(2)
        return (places.logsumexp(2) - math.log(places.shape[2])) / self.sharpness
