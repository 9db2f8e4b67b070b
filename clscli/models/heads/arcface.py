"""Heads that classify by angles."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.fields import PositiveFloat, PositiveInt
from clscli.models.layers.vectors import last_vector
from clscli.models.losses.contract import LabelMode

Margin = Annotated[float, Field(ge=0, lt=3.14)]  # half a turn is as far as two vectors can be apart


class ArcFace(nn.Module):
    """Classify by the angle to a centre of each class, and train with an angular margin around it.

    Deng et al., "ArcFace: additive angular margin loss for deep face recognition", 2019. The logits are
    `scale` * cosine of the angle between the vector (B, C) and the centre; in training `margin`, in
    radians, is added to the angle of the target's class first. It makes embeddings that compare well, of
    classes that are many, small, or not all known. Maps need a pooling neck before it.

    With `num_subcenters` above 1 a class has several centres of which the nearest counts, for labels with
    noise (Deng et al., "Sub-center ArcFace", 2020). `easy_margin` leaves out the margin where the angle is
    above 90 degrees. Targets that are distributions, as mixup makes them, get the margin in proportion.
    """

    label_mode: LabelMode = "single"  # a margin between classes

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        scale: PositiveFloat = 64.0,
        margin: Margin = 0.5,
        num_subcenters: PositiveInt = 1,
        easy_margin: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.margin = margin
        self.num_subcenters = num_subcenters
        self.easy_margin = easy_margin
        self.fc = nn.Linear(in_channels, num_classes * num_subcenters, bias=False)
        # As the paper's code has it: a centre's length does not matter, but how fast its direction turns does.
        nn.init.normal_(self.fc.weight, std=0.01)

    def forward(self, outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
        vectors = last_vector(outputs, "head 'arcface'")
        dtype = torch.promote_types(vectors.dtype, torch.float32)
        # Scaled by 64, the 8 bits of a bfloat16 cosine would be logits in steps of a quarter.
        with torch.autocast(vectors.device.type, enabled=False):
            cosines = F.linear(F.normalize(vectors.to(dtype)), F.normalize(self.fc.weight.to(dtype)))
        return self.scale * cosines.reshape(len(cosines), -1, self.num_subcenters).amax(2)

    def loss(self, outputs: Tensor, target: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Compute the loss of logits (B, K) after adding the margin; the target is (B,) or (B, K)."""
        cosines = outputs / self.scale
        share = target if target.is_floating_point() else F.one_hot(target, outputs.shape[1])
        return criterion(outputs + self.scale * share * (self.add_margin(cosines) - cosines), target)

    def add_margin(self, cosines: Tensor) -> Tensor:
        """Return the cosines of the angles that are wider by the margin.

        Beyond 180 degrees the cosine would rise again. There it falls on in a line instead.
        """
        # At an angle of zero the square root has no gradient; this is the nearest that has one.
        sines = (1 - cosines.square()).clamp(min=torch.finfo(cosines.dtype).eps).sqrt()
        wider = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        if self.easy_margin:
            return torch.where(cosines > 0, wider, cosines)
        is_below_180 = cosines > -math.cos(self.margin)
        return torch.where(is_below_180, wider, cosines - self.margin * math.sin(self.margin))
