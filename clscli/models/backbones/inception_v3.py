"""Inception v3, adapted from torchvision."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import replace_norms, with_in_channels
from clscli.models.fields import Count
from clscli.models.layers.norms import Norm

# torchvision's modules in the stem and in each stage.
_STAGES = (
    ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    ("maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    ("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
    ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)
# The smallest image that leaves at least one pixel after each stage.
_MIN_SIZES = (19, 27, 43, 75)


class InceptionV3(StagedBackbone):
    """Convolutional network of inception modules with factorised convolutions, for images of 299x299.

    Szegedy et al., "Rethinking the inception architecture for computer vision", 2016. Four stages, 1/4 to
    1/32 of the image's size, a few pixels less since many convolutions have no padding; the auxiliary
    classifier is left out. Parameters have torchvision's names, which are also timm's and mmpretrain's. The
    published weights were trained on images that are normalised with a mean and a standard deviation of
    0.5.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1512.00567"

    def __init__(
        self,
        in_channels: int,
        *,
        norm: Norm = "batch_norm",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            (192, 288, 768, 2048),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.min_size = _MIN_SIZES[self.depth - 1]
        model = models.Inception3(num_classes=1, aux_logits=False, init_weights=True)
        first = model.Conv2d_1a_3x3
        first.conv = with_in_channels(first.conv, in_channels)
        nn.init.trunc_normal_(first.conv.weight, std=0.1)  # as torchvision draws the others
        self.stages = _STAGES[: self.depth + 1]
        for name in (name for stage in self.stages for name in stage):
            self.add_module(name, model.get_submodule(name))
        replace_norms(self, norm)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        return {"head": {"type": "linear", "dropout": 0.5}}

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[self.get_submodule(name) for name in stage] for stage in self.stages]
