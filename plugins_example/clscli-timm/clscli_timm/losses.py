"""Losses of timm that clscli does not have itself."""

from typing import Annotated

from pydantic import Field
from timm import loss as timm_loss
from torch import Tensor

from clscli.models.losses.arithmetic import dense_target

Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class PolyCrossEntropy(timm_loss.PolyCrossEntropy):
    """Cross entropy with another weight for the first term of its polynomial expansion.

    Leng et al., "PolyLoss: a polynomial expansion perspective of classification loss functions", 2022. Adds
    `epsilon` times one minus the probability of the right class; 0 is plain cross entropy. `smoothing` is for
    class indices: targets that are mixed already stay as they are.
    """

    def __init__(self, *, epsilon: Finite = 2.0, smoothing: Fraction = 0.0) -> None:
        super().__init__(epsilon=epsilon, smoothing=smoothing)


class PolyBCE(timm_loss.PolyBinaryCrossEntropy):
    """Binary or focal cross entropy with another weight for the first term of its polynomial expansion.

    Leng et al., 2022, as `poly_cross_entropy`, each class for itself. `gamma` fades what is right already, as
    focal loss does; `alpha` weighs present classes, and 1 - `alpha` absent ones.
    """

    def __init__(self, *, epsilon: Finite = 2.0, gamma: NonNegative = 0.0, alpha: Fraction | None = None) -> None:
        super().__init__(epsilon=epsilon, gamma=gamma, alpha=alpha)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = super().forward(logits, dense_target(target, logits))
        return loss


class ZLPR(timm_loss.ZlprLoss):
    """Push the logits of all present classes above zero, and those of all absent ones below.

    Su et al., "ZLPR: a novel loss for multi-label classification", 2022: softmax cross entropy for several labels.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = super().forward(logits, dense_target(target, logits))
        return loss
