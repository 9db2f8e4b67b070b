"""Mirror images: at random, or in turn."""

from __future__ import annotations

import torch
from torch import Tensor

from clscli.data.transforms.batched import BatchDraws
from clscli.data.transforms.fields import Probability
from clscli.seeds import current_draw, seed_for


class RandomHorizontalFlip:
    """Mirror the image left to right with probability `p`."""

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        """Mirror one image `(C, H, W)`, or not."""
        return image.flip(-1) if torch.rand(()).item() < self.p else image

    def batched(self, images: Tensor, draws: BatchDraws) -> Tensor:
        """Mirror some images of a batch `(B, C, H, W)`."""
        return _flip_some(images, -1, draws.uniform() < self.p)


class RandomVerticalFlip:
    """Mirror the image top to bottom with probability `p`."""

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        """Mirror one image `(C, H, W)`, or not."""
        return image.flip(-2) if torch.rand(()).item() < self.p else image

    def batched(self, images: Tensor, draws: BatchDraws) -> Tensor:
        """Mirror some images of a batch `(B, C, H, W)`."""
        return _flip_some(images, -2, draws.uniform() < self.p)


class AlternatingHorizontalFlip:
    """Mirror one half of the pictures left to right in even epochs, and the other half in odd epochs.

    So two epochs in a row show every picture both ways, where random flips show a half of them the same way
    twice. Which half a picture belongs to is drawn once a run. Where an epoch has a picture several times, they
    alternate, too. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """

    def __call__(self, image: Tensor) -> Tensor:
        """Mirror one image `(C, H, W)`, or not."""
        draw = current_draw()
        return image.flip(-1) if (_half(draw.seed, draw.index) + draw.epoch + draw.repeat) % 2 else image

    def batched(self, images: Tensor, draws: BatchDraws) -> Tensor:
        """Mirror some images of a batch `(B, C, H, W)`."""
        halves = torch.tensor([_half(draws.seed, index) for index in draws.indices.tolist()])
        is_turn = (halves + draws.epoch + draws.repeats) % 2 == 1
        return _flip_some(images, -1, is_turn.to(images.device))


def _half(seed: int, index: int) -> int:
    return seed_for(seed, "alternating flip", index) % 2


def _flip_some(images: Tensor, dim: int, chosen: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(dim), images)
