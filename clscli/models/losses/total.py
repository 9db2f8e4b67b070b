"""Several losses as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clscli.models.losses.contract import Loss, given_images, reduction_of


class TotalLoss(nn.Module):
    """Add up losses, each with the weight that it has of its own.

    Raises ValueError when some are means over the batch and others sums: their share would depend on the size of
    the batch, and the total would be neither.
    """

    def __init__(self, losses: Sequence[Loss]) -> None:
        super().__init__()
        reductions = [reduction_of(loss) for loss in losses]
        if len(set(reductions)) > 1:
            raise ValueError(f"losses that are added up need one reduction, got {', '.join(reductions)}")
        self.reduction = reductions[0]
        self.losses = list(losses)
        self.parts = nn.ModuleList(loss for loss in losses if isinstance(loss, nn.Module))  # not every loss is one

    def given(self, images: Tensor) -> Loss:
        """Give every loss the images of a batch."""
        losses = [given_images(loss, images) for loss in self.losses]
        return lambda logits, target: _total(losses, logits, target)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return _total(self.losses, logits, target)


def _total(losses: Sequence[Loss], logits: Tensor, target: Tensor) -> Tensor:
    return torch.stack([loss(logits, target) for loss in losses]).sum()
