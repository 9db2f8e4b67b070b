"""GoogLeNet, adapted from torchvision."""

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
    ("conv1", "maxpool1"),
    ("conv2", "conv3"),
    ("maxpool2", "inception3a", "inception3b"),
    ("maxpool3", "inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
    ("maxpool4", "inception5a", "inception5b"),
)
# The smallest image that leaves at least one pixel after each stage.
_MIN_SIZES = (3, 7, 15, 15)


class GoogLeNet(StagedBackbone):
    """Convolutional network of inception modules: convolutions of several sizes side by side.

    Szegedy et al., "Going deeper with convolutions", 2015, here with batch norm, and as in torchvision with
    3x3 convolutions where the paper has 5x5. Four stages, 1/4 to 1/32 of the image's size; the two
    auxiliary classifiers are left out. Parameters have torchvision's names. torchvision's weights were
    trained on images that are normalised with a mean and a standard deviation of 0.5.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1409.4842"

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
            (192, 480, 832, 1024),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.min_size = _MIN_SIZES[self.depth - 1]
        model = models.GoogLeNet(num_classes=1, aux_logits=False, init_weights=True)
        model.conv1.conv = with_in_channels(model.conv1.conv, in_channels)
        nn.init.trunc_normal_(model.conv1.conv.weight, std=0.01)  # as torchvision draws the others
        self.stages = _STAGES[: self.depth + 1]
        for name in (name for stage in self.stages for name in stage):
            self.add_module(name, model.get_submodule(name))
        replace_norms(self, norm)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        return {"head": {"type": "linear", "dropout": 0.2}}

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[self.get_submodule(name) for name in stage] for stage in self.stages]
