"""The first of the polynomial losses."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F


class Poly1(nn.Module):
    """Cross entropy plus `epsilon` times the probability that the true class lacks.

    Leng et al., "PolyLoss: a polynomial expansion perspective of classification loss functions", 2022.
    """

    label_mode = "single"  # of pictures with one label each: a softmax shares one out

    def __init__(self, *, epsilon: Annotated[float, Field(ge=-1, allow_inf_nan=False)] = 1.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the batch; the target is class indices (B,), or shares of the classes (B, K)."""
        shares = target if target.is_floating_point() else F.one_hot(target, logits.shape[1])
        true = (shares * logits.softmax(1)).sum(1)
        return F.cross_entropy(logits, target) + self.epsilon * (1 - true).mean()
