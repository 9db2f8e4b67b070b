"""ShuffleNetV2, adapted from torchvision."""

from functools import partial
from typing import ClassVar

from torch import nn
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import replace_activations, replace_norms, with_in_channels
from clscli.models.fields import Count, PositiveInt
from clscli.models.layers.activations import Activation
from clscli.models.layers.norms import Norm
from clscli.models.matching import KeyMap

# torchvision's modules in each stage.
_STAGES = (("conv1", "maxpool"), ("stage2",), ("stage3",), ("stage4", "conv5"))


class ShuffleNetV2(StagedBackbone):
    """Network for phones, made for the time it takes: half of the channels pass each block unchanged.

    Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN architecture design", 2018. The first
    stage is a convolution and a pooling to `stem_channels`; three of `depths` blocks and `widths` channels
    follow, each half the size of the one before, and the last ends with a 1x1 convolution to
    `last_channels`. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1807.11164"
    key_maps: ClassVar[dict[str, KeyMap]] = {
        "mmpretrain": (
            (r"^layers\.3\.", "conv5."),
            (r"^layers\.0\.", "stage2."),
            (r"^layers\.1\.", "stage3."),
            (r"^layers\.2\.", "stage4."),
            (r"^(conv\d)\.conv\.", r"\1.0."),
            (r"^(conv\d)\.bn\.", r"\1.1."),
            # A convolution, its norm and perhaps its activation are one module there.
            (r"branch1\.0\.conv\.", "branch1.0."),
            (r"branch1\.0\.bn\.", "branch1.1."),
            (r"branch1\.1\.conv\.", "branch1.2."),
            (r"branch1\.1\.bn\.", "branch1.3."),
            (r"branch2\.0\.conv\.", "branch2.0."),
            (r"branch2\.0\.bn\.", "branch2.1."),
            (r"branch2\.1\.conv\.", "branch2.3."),
            (r"branch2\.1\.bn\.", "branch2.4."),
            (r"branch2\.2\.conv\.", "branch2.5."),
            (r"branch2\.2\.bn\.", "branch2.6."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        depths: tuple[PositiveInt, PositiveInt, PositiveInt] = (4, 8, 4),
        stem_channels: PositiveInt = 24,
        widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (116, 232, 464),
        last_channels: PositiveInt = 1024,
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        if any(width % 2 for width in widths):
            raise ValueError(f"ShuffleNetV2 halves its channels, so widths must be even, got {list(widths)}")
        super().__init__(
            [stem_channels, *widths[:2], last_channels],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        model = models.ShuffleNetV2(list(depths), [stem_channels, *widths, last_channels], num_classes=1)
        model.conv1[0] = with_in_channels(model.conv1[0], in_channels)
        model.conv1[0].reset_parameters()  # torchvision draws all weights as PyTorch does by default
        self.stages = _STAGES[: self.depth]
        for name in (name for stage in self.stages for name in stage):
            self.add_module(name, model.get_submodule(name))
        replace_norms(self, norm)
        replace_activations(self, activation)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[], *([self.get_submodule(name) for name in stage] for stage in self.stages)]


shufflenet_v2_x0_5 = partial(ShuffleNetV2, widths=(48, 96, 192), last_channels=1024)
shufflenet_v2_x1_0 = partial(ShuffleNetV2, widths=(116, 232, 464), last_channels=1024)
shufflenet_v2_x1_5 = partial(ShuffleNetV2, widths=(176, 352, 704), last_channels=1024)
shufflenet_v2_x2_0 = partial(ShuffleNetV2, widths=(244, 488, 976), last_channels=2048)
