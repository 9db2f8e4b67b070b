"""A small network of separable convolutions."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn


class SeparableNet(nn.Module):
    """A small network of separable convolutions, for small pictures.

    Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017:
    a depthwise 3x3 convolution looks around in each channel, and a 1x1 convolution mixes the channels. Each of
    the `depth` blocks halves height and width and doubles the channels, which are `width` before the first.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: Annotated[int, Field(ge=4)] = 32,
        depth: Annotated[int, Field(ge=1, le=5)] = 3,
    ) -> None:
        super().__init__()
        self.stem = make_layer(in_channels, width, kernel_size=3)
        self.blocks = nn.Sequential()
        for _ in range(depth):
            self.blocks.append(make_layer(width, width, kernel_size=3, stride=2, groups=width))
            self.blocks.append(make_layer(width, 2 * width, kernel_size=1))
            width *= 2
        self.out_channels = width  # necks and heads are built for it

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into maps (B, out_channels, H / 2^depth, W / 2^depth)."""
        maps: Tensor = self.blocks(self.stem(images))
        return maps


def make_layer(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Chain a convolution, its norm and its activation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())
