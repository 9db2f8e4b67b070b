"""Mixing the pictures of a batch, and their targets with them: torchvision's, with typed parameters."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms import v2

from clscli.data.transforms.augment import Probability
from clscli.models.fields import PositiveFloat


class Mixup:
    """Blend every picture of a batch with another one, and their targets in the same proportion.

    Zhang et al., "mixup: beyond empirical risk minimization", 2018. The proportion is drawn for each batch
    from a Beta(`alpha`, `alpha`) distribution: the larger `alpha`, the more equal the two pictures' shares.
    0.2 is what the paper uses for ImageNet; DeiT takes 0.8. A batch is mixed with probability `p`.
    """

    def __init__(self, num_classes: int, *, alpha: PositiveFloat = 0.2, p: Probability = 1.0) -> None:
        self.p = p
        self.mix = v2.MixUp(alpha=alpha, num_classes=num_classes)

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        mixed: tuple[Tensor, Tensor] = self.mix(images, targets)
        return mixed


class Cutmix:
    """Paste a rectangle of another picture into every picture of a batch; targets get shares by area.

    Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", 2019.
    The area that stays is drawn for each batch from a Beta(`alpha`, `alpha`) distribution; 1.0, the paper's,
    makes all areas equally likely. A batch is mixed with probability `p`.
    """

    def __init__(self, num_classes: int, *, alpha: PositiveFloat = 1.0, p: Probability = 1.0) -> None:
        self.p = p
        self.mix = v2.CutMix(alpha=alpha, num_classes=num_classes)

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        mixed: tuple[Tensor, Tensor] = self.mix(images, targets)
        return mixed
