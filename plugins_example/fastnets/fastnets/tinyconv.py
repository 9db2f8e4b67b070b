"""As small as a backbone can be."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn


class TinyConv(nn.Module):
    """Three convolutions for small pictures."""

    def __init__(self, in_channels: int, *, width: Annotated[int, Field(ge=4)] = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for channels in (width, 2 * width, 4 * width):
            self.layers += nn.Sequential(
                nn.Conv2d(in_channels, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
            )
            in_channels = channels
        self.out_channels = in_channels  # all that clscli asks of a backbone

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into maps (B, out_channels, H / 8, W / 8)."""
        maps: Tensor = self.layers(images)
        return maps
