"""A backbone, a loss and a transform for clscli, each as small as it can be."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F


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
        return self.layers(images)


class Poly1(nn.Module):
    """Cross entropy plus `epsilon` times the probability that the true class lacks (Leng et al., 2022)."""

    def __init__(self, *, epsilon: float = 1.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        true = logits.softmax(1).gather(1, target[:, None])[:, 0]
        return F.cross_entropy(logits, target) + self.epsilon * (1 - true).mean()


class Invert:
    """Turn the picture into its negative with probability `p`."""

    def __init__(self, *, p: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None:
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        return 255 - image if torch.rand(()) < self.p else image
