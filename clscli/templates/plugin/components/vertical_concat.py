"""A batch transform that mixes two pictures, one above the other."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F


class VerticalConcat:
    """Put the top of another picture above the bottom of every picture of a batch; targets get shares by area.

    Summers and Dinneen, "Improved mixed-example data augmentation", 2019. The height at which the two meet is
    drawn for each batch. A batch is mixed with probability `p`.
    """

    def __init__(self, num_classes: int, *, p: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None:
        self.num_classes = num_classes
        self.p = p  # clscli draws by it which of a spec's batch transforms a batch gets

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images (B, C, H, W) and their targets (B,), which become shares of the classes (B, K)."""
        height = images.shape[2]
        rows = int(torch.randint(height + 1, ()))
        # The other picture is the one before: batches are shuffled.
        mixed = torch.cat([images.roll(1, 0)[:, :, :rows], images[:, :, rows:]], dim=2)
        labels = F.one_hot(targets, self.num_classes).float()
        return mixed, torch.lerp(labels, labels.roll(1, 0), rows / height)
