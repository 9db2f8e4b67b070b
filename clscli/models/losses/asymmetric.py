"""Asymmetric loss."""

from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.fields import Rate
from clscli.models.losses.arithmetic import at_least_float32, dense_target, reduce
from clscli.models.losses.contract import NonNegative, Reduction
from clscli.models.losses.focal import fade


class Asymmetric(nn.Module):
    """Focal loss that fades faster for the many absent classes than for the few present ones.

    Ben-Baruch, Ridnik, Zamir, Noy, Friedman, Protter and Zelnik-Manor, "Asymmetric Loss For Multi-Label
    Classification", 2020 (https://arxiv.org/abs/2009.14119). A class that is present is focussed by
    `gamma_pos`, one that is absent by `gamma_neg`, and an absent one with a probability below `clip` costs
    nothing. The target is a value for each class (B, K), or a class index (B,), which becomes one-hot. The
    classes of a sample are summed, as published, or averaged with `sum_classes = false`.
    """

    def __init__(
        self,
        *,
        gamma_pos: NonNegative = 0.0,
        gamma_neg: NonNegative = 4.0,
        clip: Rate = 0.05,
        sum_classes: bool = True,
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.clip = clip
        self.sum_classes = sum_classes
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        target = dense_target(target, logits)
        present = -fade((-logits).sigmoid(), self.gamma_pos) * F.logsigmoid(logits)
        shifted = (logits.sigmoid() - self.clip).clamp(min=0)
        # Without a shift the logarithm is exact for every logit; with one, 1 - shifted is never below the clip.
        log_absent = F.logsigmoid(-logits) if self.clip == 0 else (-shifted).log1p()
        absent = -fade(shifted, self.gamma_neg) * log_absent
        values = target * present + (1 - target) * absent
        return self.loss_weight * reduce(values, self.reduction, sum_classes=self.sum_classes)
