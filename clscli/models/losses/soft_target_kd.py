"""Knowledge distillation from a teacher's logits."""

from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.fields import PositiveFloat
from clscli.models.losses.arithmetic import at_least_float32, reduce
from clscli.models.losses.contract import LabelMode, LoadTeacher, Loss, NonNegative, Reduction


class SoftTargetKD(nn.Module):
    """Learn from the labels and from the probabilities of a trained teacher, a checkpoint of clscli's.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015
    (https://arxiv.org/abs/1503.02531): (1 - `alpha`) times the cross entropy with the labels, plus `alpha` times
    the divergence of the student from the teacher, both softened by `temperature`, times its square so that the
    gradients keep their size. The defaults are those of Tian, Krishnan and Isola, "Contrastive Representation
    Distillation", 2019 (https://arxiv.org/abs/1910.10699).

    `teacher` is the path of the checkpoint. Its classes must be the student's, in any order, and it sees the
    same augmented images, resized to what it was trained for. It is needed for training alone: the loss of an
    evaluation is the cross entropy with the labels. For other losses of the labels write a list, this one with
    `alpha = 1.0`.
    """

    label_mode: LabelMode = "single"

    def __init__(
        self,
        load_teacher: LoadTeacher | None,
        *,
        teacher: Path,
        temperature: PositiveFloat = 4.0,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.9,
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.teacher = None if load_teacher is None else load_teacher(teacher)
        self.temperature = temperature
        self.alpha = alpha
        self.reduction = reduction
        self.loss_weight = loss_weight

    def given(self, images: Tensor) -> Loss:
        """Ask the teacher about a batch; return the loss of that batch."""
        if self.teacher is None:
            raise RuntimeError("soft_target_kd was built for evaluation, without its teacher")
        return partial(self.distil, self.teacher(images))

    def distil(self, teacher_logits: Tensor, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum of both losses."""
        log_p = (at_least_float32(logits) / self.temperature).log_softmax(1)
        log_taught = (at_least_float32(teacher_logits) / self.temperature).log_softmax(1)
        divergence = F.kl_div(log_p, log_taught, reduction="none", log_target=True)
        soft = self.temperature**2 * reduce(divergence, self.reduction, sum_classes=True)
        hard = self.forward(logits, target)
        return (1 - self.alpha) * hard + self.alpha * self.loss_weight * soft

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        target = target.to(logits.dtype) if target.is_floating_point() else target
        return self.loss_weight * F.cross_entropy(logits, target, reduction=self.reduction)
