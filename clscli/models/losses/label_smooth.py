"""Label smoothing in the three ways that are in use."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.losses.arithmetic import at_least_float32, dense_target, reduce
from clscli.models.losses.contract import LabelMode, NonNegative, Reduction


class LabelSmooth(nn.Module):
    """Smooth the labels in one of three published ways, then take the cross entropy.

    With s = `label_smoothing` and K classes, `mode` is

    - "original": (1 - s) target + s / K, under a softmax (Szegedy et al., "Rethinking the Inception
      Architecture for Computer Vision", 2015, https://arxiv.org/abs/1512.00567): what `cross_entropy` does with
      its own `label_smoothing`
    - "classy_vision": (target + s / K) / (1 + s), under a softmax, as the library of that name has it: a smaller s
    - "multi_label": 1 - s for every class with a target above 0 and s for all others, under a sigmoid for each
      class; the mean over the classes
    """

    def __init__(
        self,
        *,
        label_smoothing: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        mode: Literal["original", "classy_vision", "multi_label"] = "original",
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.mode = mode
        self.label_mode: LabelMode | None = None if mode == "multi_label" else "single"
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        target = dense_target(target, logits)
        smoothing = self.label_smoothing
        if self.mode == "multi_label":
            positive = (target > 0).to(logits.dtype)
            target = smoothing + (1 - 2 * smoothing) * positive
            values = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            return self.loss_weight * reduce(values, self.reduction, sum_classes=False)
        if self.mode == "classy_vision":
            smoothing = smoothing / (1 + smoothing)
        target = (1 - smoothing) * target + smoothing / logits.shape[1]
        values = -target * logits.log_softmax(1)
        return self.loss_weight * reduce(values, self.reduction, sum_classes=True)
