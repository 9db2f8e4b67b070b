"""Binary cross entropy: every class is a question of its own."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.fields import Rate
from clscli.models.losses.arithmetic import at_least_float32, dense_target, reduce
from clscli.models.losses.class_weights import ClassWeights, choose_weights, positive_weights
from clscli.models.losses.contract import NonNegative, Reduction


class BinaryCrossEntropy(nn.Module):
    """Binary cross entropy with a sigmoid for each class, for one label or several.

    Wightman, Touvron and Jégou, "ResNet strikes back: An improved training procedure in timm", 2021
    (https://arxiv.org/abs/2110.00476), train single-label classifiers with it: mixed images then show two
    classes in full, with `target_threshold = 0.2`, rather than a part of each.

    The target is a class index (B,), which becomes one-hot, or a value for each class (B, K). It is smoothed
    first: `label_smoothing` moves that share of it to all classes alike. Then, with a `target_threshold`, what
    lies above becomes 1 and the rest 0. `pos_weight` weights the positives of each class: one number per class,
    or "balanced", the class's negatives / positives among the training samples. The classes of a sample are
    averaged, or summed with `sum_classes`.
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        class_counts: tuple[int, ...],
        num_samples: int,
        *,
        label_smoothing: Rate = 0.0,
        target_threshold: Annotated[float, Field(ge=0, lt=1)] | None = None,
        pos_weight: ClassWeights = "none",
        sum_classes: bool = False,
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.target_threshold = target_threshold
        self.sum_classes = sum_classes
        self.reduction = reduction
        self.loss_weight = loss_weight
        weight = choose_weights("pos_weight", pos_weight, class_counts, positive_weights, num_samples)
        self.register_buffer("pos_weight", weight, persistent=False)  # follows from the spec and the data

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        target = dense_target(target, logits)
        target = target * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[1]
        if self.target_threshold is not None:
            target = (target > self.target_threshold).to(logits.dtype)
        pos_weight = None if self.pos_weight is None else self.pos_weight.to(logits.dtype)
        values = F.binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight, reduction="none")
        return self.loss_weight * reduce(values, self.reduction, sum_classes=self.sum_classes)
