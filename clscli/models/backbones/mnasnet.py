"""MnasNet, adapted from torchvision."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from torch import nn
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import (
    TIMM_INVERTED_RESIDUALS,
    cut,
    replace_activations,
    replace_norms,
    with_in_channels,
)
from clscli.models.fields import Count, PositiveFloat
from clscli.models.layers.activations import Activation
from clscli.models.layers.norms import Norm
from clscli.models.matching import KeyMap

# torchvision's layers in each stage: from a row of blocks of stride 2 to the next (figure 7 of the paper).
_BOUNDS = (0, 8, 9, 10, 12, 17)


class MNASNet(StagedBackbone):
    """Network for phones, found by a search that weighed accuracy against the time on a phone.

    Tan et al., "MnasNet: platform-aware neural architecture search for mobile", 2019: the variant B1,
    without squeeze-and-excitation. Five stages, each half the size of the one before; the last ends with
    the 1x1 convolution to 1280 channels before the paper's pooling. `width_mult` scales the channels of all
    others, to multiples of 8. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1807.11626"
    key_maps: ClassVar[dict[str, KeyMap]] = {
        "timm": (
            (r"^conv_stem\.", "layers.0."),
            (r"^bn1\.", "layers.1."),
            (r"^conv_head\.", "layers.14."),
            (r"^bn2\.", "layers.15."),
            *TIMM_INVERTED_RESIDUALS,
            (r"^blocks\.0\.0\.depthwise\.conv\.", "layers.3."),
            (r"^blocks\.0\.0\.depthwise\.norm\.", "layers.4."),
            (r"^blocks\.0\.0\.project\.conv\.", "layers.6."),
            (r"^blocks\.0\.0\.project\.norm\.", "layers.7."),
            (r"\.expand\.conv\.", ".layers.0."),
            (r"\.expand\.norm\.", ".layers.1."),
            (r"\.depthwise\.conv\.", ".layers.3."),
            (r"\.depthwise\.norm\.", ".layers.4."),
            (r"\.project\.conv\.", ".layers.6."),
            (r"\.project\.norm\.", ".layers.7."),
            *((rf"^blocks\.{row}\.", f"layers.{row + 7}.") for row in range(1, 7)),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        width_mult: PositiveFloat = 1.0,
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        layers = models.MNASNet(width_mult, num_classes=1).layers
        stages = cut(layers, _BOUNDS)
        super().__init__(
            [last_convolution(stage).out_channels for stage in stages],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.bounds = _BOUNDS[: self.depth + 1]
        self.layers: nn.Sequential = layers[: self.bounds[-1]]
        self.layers[0] = with_in_channels(layers[0], in_channels)
        replace_norms(self, norm)
        replace_activations(self, activation)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        return {"head": {"type": "linear", "dropout": 0.2}}

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[], *cut(self.layers, self.bounds)]


def last_convolution(modules: list[nn.Module]) -> nn.Conv2d:
    return [layer for module in modules for layer in module.modules() if isinstance(layer, nn.Conv2d)][-1]


mnasnet0_5 = partial(MNASNet, width_mult=0.5)
mnasnet0_75 = partial(MNASNet, width_mult=0.75)
mnasnet1_0 = partial(MNASNet, width_mult=1.0)
mnasnet1_3 = partial(MNASNet, width_mult=1.3)
