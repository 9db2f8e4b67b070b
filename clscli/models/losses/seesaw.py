"""Seesaw loss."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.losses.arithmetic import at_least_float32
from clscli.models.losses.contract import LabelMode, NonNegative, Reduction


class Seesaw(nn.Module):
    """Cross entropy for long-tailed data: frequent classes push rare ones down less.

    Wang, Zhang, Zang, Cao, Pang, Gong, Chen, Liu, Loy and Lin, "Seesaw Loss for Long-Tailed Instance
    Segmentation", 2020 (https://arxiv.org/abs/2008.10032). Where the target is class i, the exponential of the
    logit of another class j is scaled by (N_j / N_i)^`p` if j is the rarer one, and by (p_j / p_i)^`q` if j is the
    likelier one; p_i is taken as at least `eps`. 0 for `p` or `q` leaves out that factor. The target must be a
    class index (B,): a mixture has no N_i.

    In training N counts the targets seen so far, so that it follows any sampling, and is part of what a run
    resumes from. In evaluation it is the number of training samples, so that a checkpoint is worth the same
    wherever it is evaluated.
    """

    label_mode: LabelMode = "single"
    class_counts: Tensor
    seen: Tensor

    def __init__(
        self,
        class_counts: tuple[int, ...],
        *,
        p: NonNegative = 0.8,
        q: NonNegative = 2.0,
        eps: Annotated[float, Field(gt=0, lt=1)] = 0.01,
        reduction: Reduction = "mean",
        loss_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.p = p
        self.q = q
        self.eps = eps
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.register_buffer("class_counts", torch.tensor(class_counts), persistent=False)
        self.register_buffer("seen", torch.zeros(len(class_counts), dtype=torch.int64))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():
            raise ValueError(
                "seesaw needs class indices as targets, got soft ones (B, K) -- train without mixing images, "
                "or with cross_entropy"
            )
        logits = at_least_float32(logits)
        if self.training:
            self.seen += F.one_hot(target, len(self.seen)).sum(0)
        log_n = (self.seen if self.training else self.class_counts).clamp(min=1).to(logits.dtype).log()
        mitigation = self.p * (log_n - log_n[target][:, None]).clamp(max=0)
        log_p = logits.detach().log_softmax(1)
        log_p_target = log_p.gather(1, target[:, None]).clamp(min=math.log(self.eps))
        compensation = self.q * (log_p - log_p_target).clamp(min=0)
        # Both are 0 for the target's own class: its logit stays as it is.
        return self.loss_weight * F.cross_entropy(
            logits + mitigation + compensation, target, reduction=self.reduction
        )
