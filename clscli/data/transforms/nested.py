"""Transforms of other transforms: with a probability, one of several, or in any order."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from clscli.data.transforms.contract import Transform
from clscli.data.transforms.fields import NonNegative, Probability

Transforms = Annotated[list[Transform], Field(min_length=1)]


class RandomApply:
    """Apply all of several transforms with probability `p`, or else none of them."""

    def __init__(self, *, transforms: Transforms, p: Probability = 0.5) -> None:
        self.transforms = transforms
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image `(C, H, W)`."""
        if torch.rand(()).item() < self.p:
            for transform in self.transforms:
                image = transform(image)
        return image


class RandomChoice:
    """Apply one of several transforms, each as likely as its share of the `weights`; without these all alike."""

    def __init__(self, *, transforms: Transforms, weights: list[NonNegative] | None = None) -> None:
        weights = [1.0] * len(transforms) if weights is None else weights
        if len(weights) != len(transforms):
            raise ValueError(f"weights must have {len(transforms)} numbers, one for each transform, got {weights}")
        if not any(weights):
            raise ValueError(f"weights must not all be 0, got {weights}")
        self.transforms = transforms
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image `(C, H, W)`."""
        return self.transforms[int(torch.multinomial(self.weights, 1))](image)


class RandomOrder:
    """Apply all of several transforms, in an order drawn for each picture."""

    def __init__(self, *, transforms: Transforms) -> None:
        self.transforms = transforms

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image `(C, H, W)`."""
        for index in torch.randperm(len(self.transforms)).tolist():
            image = self.transforms[index](image)
        return image
