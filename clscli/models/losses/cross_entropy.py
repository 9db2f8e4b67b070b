"""Cross entropy."""

from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.fields import Rate
from clscli.models.losses.arithmetic import at_least_float32
from clscli.models.losses.class_weights import ClassWeights, balanced_weights, choose_weights, total_weight
from clscli.models.losses.contract import LabelMode, NonNegative, Reduction


class CrossEntropy(nn.Module):
    """Cross entropy with a softmax over the classes, the usual loss.

    The target is a class index (B,) or a distribution over the classes (B, K), as mixup makes it.
    `label_smoothing` moves that share of every target to all classes alike (Szegedy et al., 2015).
    `class_weights` is one weight per class, or "balanced": samples / (classes * samples of the class), as
    scikit-learn defines it. The mean is over the weights of the batch's targets: with PyTorch that is so
    for indices, but not for distributions, where it would make a one-hot target another loss than its
    index.
    """

    label_mode: LabelMode = "single"
    weight: Tensor | None

    def __init__(
        self,
        class_counts: tuple[int, ...],
        *,
        label_smoothing: Rate = 0.0,
        class_weights: ClassWeights = "none",
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.loss_weight = loss_weight
        weight = choose_weights("class_weights", class_weights, class_counts, balanced_weights)
        # Not persistent: it follows from the spec and the data, a checkpoint must not bring back another one.
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        weight = None if self.weight is None else self.weight.to(logits.dtype)
        if target.is_floating_point():
            target = target.to(logits.dtype)
        loss = F.cross_entropy(logits, target, weight, reduction="sum", label_smoothing=self.label_smoothing)
        if self.reduction == "mean":
            loss = loss / total_weight(target, weight)
        return self.loss_weight * loss
