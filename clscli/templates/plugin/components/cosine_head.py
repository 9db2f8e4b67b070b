"""A head that classifies by angles."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F


class CosineHead(nn.Module):
    """Classify by the angle to a direction of each class, however long the vector is.

    Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", 2018. The logits are cosines
    times a number that is learnt as well and begins at `scale`. Takes vectors (B, C): maps need a pooling neck
    before it.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0,
    ) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(num_classes, in_channels))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Turn vectors (B, C), or the last of several, into logits (B, K)."""
        vectors = outputs if isinstance(outputs, Tensor) else outputs[-1]
        return self.scale * F.linear(F.normalize(vectors), F.normalize(self.directions))
