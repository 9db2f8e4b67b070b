"""Mixing the pictures of a batch, and their targets with them: torchvision's mixup and cutmix, and resizemix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from clscli.data.batch_transforms import dense
from clscli.data.transforms.fields import Pair, Probability, check_range
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


class Resizemix:
    """Paste a shrunken other picture into every picture of a batch; targets get shares by area.

    Qin et al., "ResizeMix: Mixing data with preserved object information and true labels", 2020. The side of the
    pasted picture, as a part of the whole side, is drawn for each batch from `scale`. A batch is mixed with
    probability `p`.
    """

    def __init__(self, num_classes: int, *, scale: Pair = (0.1, 0.8), p: Probability = 1.0) -> None:
        check_range("scale", scale, least=0, most=1)
        self.num_classes = num_classes
        self.scale = scale
        self.p = p

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch."""
        height, width = images.shape[-2:]
        side = torch.empty(()).uniform_(*self.scale).item()
        patch_height, patch_width = max(1, int(side * height)), max(1, int(side * width))
        top = int(torch.randint(height - patch_height + 1, ()))
        left = int(torch.randint(width - patch_width + 1, ()))
        # As in mixup and cutmix, the other picture is the one before: batches are shuffled.
        others = images.roll(1, 0)
        patches = F.interpolate(others, (patch_height, patch_width), mode="bilinear", antialias=True)
        mixed = images.clone()
        mixed[..., top : top + patch_height, left : left + patch_width] = patches
        share = patch_height * patch_width / (height * width)
        labels = dense(targets, self.num_classes)
        return mixed, torch.lerp(labels, labels.roll(1, 0), share)
