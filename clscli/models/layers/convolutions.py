"""Convolutions of maps, by name."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.layers.norms import Norm, make_norm

Conv = Literal["conv2d", "weight_standardized"]


class WeightStandardizedConv2d(nn.Conv2d):
    """Convolution whose weights have mean 0 and variance 1 for each output channel, for use with group norm.

    Qiao et al., "Weight standardization", 2019.
    """

    def forward(self, features: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-6)
        return F.conv2d(features, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def make_conv(
    name: Conv,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Make a convolution that keeps the size of its map, apart from the stride."""
    make = WeightStandardizedConv2d if name == "weight_standardized" else nn.Conv2d
    return make(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=dilation * (kernel_size - 1) // 2,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, *, norm: Norm, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Make a convolution and its norm, under the names that timm and mmpretrain give them, `conv` and `bn`."""
    conv = make_conv("conv2d", in_channels, out_channels, kernel_size, stride=stride, groups=groups)
    return nn.Sequential(OrderedDict(conv=conv, bn=make_norm(norm, out_channels)))
