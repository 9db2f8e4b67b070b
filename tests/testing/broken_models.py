"""Backbones, necks and heads that each break one rule, and else do nothing special."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F


class Sound(nn.Module):
    """One convolution."""

    def __init__(self, in_channels: int, *, width: Annotated[int, Field(ge=4)] = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3)
        self.out_channels = width

    def forward(self, images):
        return self.conv(images)


# Before they are built


class ByPosition(Sound):
    """One convolution."""

    def __init__(self, in_channels: int, width: int = 8, depth: int = 1) -> None:
        super().__init__(in_channels, width=width)


class Stars(Sound):
    """One convolution."""

    def __init__(self, in_channels: int, **others: int) -> None:
        super().__init__(in_channels)


class Undescribed(Sound):
    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)


class Rambling(Sound):
    """One convolution, of which more is said
    in the second line."""


class BadDefault(Sound):
    """One convolution."""

    def __init__(self, in_channels: int, *, width: Annotated[int, Field(ge=4)] = 2) -> None:
        super().__init__(in_channels)


class Demanding(Sound):
    """One convolution."""

    def __init__(self, in_channels: int, *, width: int) -> None:
        super().__init__(in_channels, width=width)


class Failing(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        raise RuntimeError("out of order")


# Backbones


class NoModule:
    """No module."""

    def __init__(self, in_channels: int) -> None:
        self.out_channels = in_channels


class NoChannels(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        del self.out_channels


class WrongChannels(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.out_channels = (4, 8)


class ReturnsList(Sound):
    """One convolution."""

    def forward(self, images):
        return [self.conv(images)]


class OneSize(Sound):
    """A convolution and a linear layer on all pixels."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.linear = nn.Linear(8 * 62 * 62, 8)

    def forward(self, images):
        return self.linear(self.conv(images).flatten(1))


class Large(Sound):
    """One convolution."""

    def forward(self, images):
        if images.shape[-1] < 200:
            raise ValueError("Large needs images of at least 200x200 pixels")
        return self.conv(images)


class Speechless(Sound):
    """One convolution."""

    def forward(self, images):
        if images.shape[-1] > 64:
            raise ValueError
        return self.conv(images)


class InColour(Sound):
    """One convolution."""

    def __init__(self) -> None:
        super().__init__(3)


class WritesInput(Sound):
    """One convolution."""

    def forward(self, images):
        return self.conv(F.relu_(images))


class TrainReturnsNothing(Sound):
    """One convolution."""

    def train(self, mode=True):
        super().train(mode)


class StaysInTraining(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.norm = nn.BatchNorm2d(8)

    def train(self, mode=True):
        super().train(mode)
        self.norm.train()
        return self

    def forward(self, images):
        return self.norm(self.conv(images))


class AlwaysDrops(Sound):
    """One convolution."""

    def forward(self, images):
        return F.dropout(self.conv(images))


class LooksAtOthers(Sound):
    """One convolution."""

    def forward(self, images):
        return self.conv(images - images.mean(0))


class Unused(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.spare = nn.Linear(2, 2)


class Detached(Sound):
    """One convolution."""

    def forward(self, images):
        return self.conv(images).detach()


class Infinite(Sound):
    """One convolution."""

    def forward(self, images):
        return (self.conv(images) * 0).sqrt()


class ForgetsDirection(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.direction = torch.rand(8, 1, 1)

    def forward(self, images):
        return self.conv(images) * self.direction


class RandomShape(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.register_buffer("drawn", torch.zeros(int(torch.randint(1, 10**6, ()))))


class HoldsLambda(Sound):
    """One convolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.act = lambda features: features.relu()

    def forward(self, images):
        return self.act(self.conv(images))


class Branches(Sound):
    """One convolution."""

    def forward(self, images):
        features = self.conv(images)
        return features if features.sum() > 0 else -features


class SaysThatItBranches(Branches):
    """One convolution."""

    compiles = False


# Necks and heads


class Pool(nn.Module):
    """The mean of a map."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels

    def forward(self, outputs):
        return outputs.mean((2, 3))


class SoundHead(nn.Module):
    """One linear layer."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, outputs):
        return self.fc(outputs[-1] if isinstance(outputs, tuple) else outputs)


class TakesFirst(SoundHead):
    """One linear layer."""

    def forward(self, outputs):
        return self.fc(outputs[0][:, :1].expand(-1, 16) if isinstance(outputs, tuple) else outputs)


class ThousandClasses(SoundHead):
    """One linear layer."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, 1000)


class NothingFits(SoundHead):
    """One linear layer."""

    def forward(self, outputs):
        raise ValueError("no")


class PredictsTwo(SoundHead):
    """One linear layer."""

    def predict(self, outputs):
        return self(outputs), self(outputs)


class NoScalar(SoundHead):
    """One linear layer."""

    def loss(self, outputs, target, criterion):
        return F.cross_entropy(outputs, target, reduction="none")
