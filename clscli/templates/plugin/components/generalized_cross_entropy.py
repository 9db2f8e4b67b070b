"""A loss for labels that are sometimes wrong."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F


class GeneralizedCrossEntropy(nn.Module):
    """Cross entropy that gives less weight to samples whose label seems wrong.

    Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy labels",
    2018: (1 - p^q) / q of the probability p of the target. Towards 0, `q` makes it cross entropy; 1 makes it the
    mean absolute error, which learns slowly but forgives most. 0.7 is the paper's.
    """

    label_mode = "single"  # of pictures with one label each: a softmax shares one out

    def __init__(self, *, q: Annotated[float, Field(gt=0, le=1)] = 0.7) -> None:
        super().__init__()
        self.q = q

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the batch; the target is class indices (B,), or shares of the classes (B, K)."""
        shares = target if target.is_floating_point() else F.one_hot(target, logits.shape[1])
        # From the logarithm: a probability that is rounded to 0 has no gradient any more.
        powers = (self.q * logits.float().log_softmax(1)).exp()
        return (shares * (1 - powers) / self.q).sum(1).mean()
