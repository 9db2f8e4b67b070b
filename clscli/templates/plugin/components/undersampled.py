"""A sampler for classes of very different sizes."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor


class Undersampled:
    """Take only so many samples of every class as the rarest one has, others in each epoch.

    Of larger classes, `ratio` times as many. No sample comes twice in an epoch, and epochs are shorter.
    """

    def __init__(
        self,
        targets: Tensor,
        num_classes: int,
        *,
        ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0,
    ) -> None:
        members = [(targets == target).nonzero()[:, 0] for target in range(num_classes)]
        most = int(ratio * min(len(indices) for indices in members if len(indices)))
        self.classes = [(indices, min(len(indices), most)) for indices in members]

    def __len__(self) -> int:
        return sum(num_taken for _, num_taken in self.classes)

    def __call__(self, generator: torch.Generator) -> Tensor:
        """Draw the order of one epoch: indices, int64 (N,)."""
        taken = torch.cat(
            [
                indices[torch.randperm(len(indices), generator=generator)[:num_taken]]
                for indices, num_taken in self.classes
            ]
        )
        return taken[torch.randperm(len(taken), generator=generator)]
