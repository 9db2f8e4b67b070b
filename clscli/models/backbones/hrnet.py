"""HRNet: parallel branches of different resolutions that keep exchanging what they find."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.backbones.resnet import BasicBlock, Bottleneck, Kinds, initialize
from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.convolutions import Conv, make_conv
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.layers.outputs import Outputs

# Stage i has i + 1 branches, so there are as many resolutions as stages.
NUM_STAGES = 4


class Fusion(nn.ModuleList):
    """Sum of the maps of all branches at the resolution of one of them, the `target`."""

    def __init__(self, widths: Sequence[int], target: int, kinds: Kinds) -> None:
        super().__init__(make_path(widths, source, target, kinds) for source in range(len(widths)))
        self.target = target

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        total = maps[self.target]
        height, width = total.shape[-2:]
        for source, (path, features) in enumerate(zip(self, maps, strict=True)):
            if source == self.target:
                continue
            arrived = path(features)
            # To the target's size and not by a factor: where a side is odd, twice the next one is too large.
            total = total + (arrived if source < self.target else F.interpolate(arrived, (height, width)))
        return total


class HighResolutionModule(nn.Module):
    """Branches of residual blocks, one for each resolution, which then exchange their maps.

    Takes a map from every branch, from large to small, and returns those with an index in `targets`.
    """

    def __init__(self, widths: Sequence[int], num_blocks: int, targets: Sequence[int], kinds: Kinds) -> None:
        super().__init__()
        self.targets = tuple(targets)
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width, 1, kinds) for _ in range(num_blocks))) for width in widths
        )
        # What is not asked for is not built, but keeps its place: the names count all resolutions.
        self.fuse_layers = nn.ModuleList(
            Fusion(widths, target, kinds) if target in targets else nn.Identity() for target in range(len(widths))
        )
        self.activation = make_activation(kinds["activation"])

    def forward(self, *maps: Tensor) -> list[Tensor]:
        maps = tuple(branch(features) for branch, features in zip(self.branches, maps, strict=True))
        return [self.activation(self.fuse_layers[target](maps)) for target in self.targets]


class HRNet(StagedBackbone):
    """Network that keeps a map of high resolution all the way, beside branches of lower ones.

    Wang et al., "Deep high-resolution representation learning for visual recognition", 2020. A first stage
    of `first_blocks` bottlenecks of `first_width` channels is followed by three that add one branch each, of
    half the resolution and twice the channels of the one before; the largest has a quarter of the image's
    size and `width` channels. In stage i + 2 there are `num_modules[i]` rounds of `num_blocks` blocks in
    every branch and an exchange between all branches.

    The outputs are the four resolutions at the end of the network, so `out_indices` chooses resolutions,
    from large to small; `frozen_stages` counts the stages of the network. The published classifier joins
    the four with the neck hr_fuse_scales. Parameters have the names that the authors, timm and mmpretrain
    use.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1908.07919"

    def __init__(
        self,
        in_channels: int,
        *,
        width: PositiveInt = 18,
        num_modules: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 4, 3),
        num_blocks: PositiveInt = 4,
        first_width: PositiveInt = 64,
        first_blocks: PositiveInt = 4,
        stem_channels: PositiveInt = 64,
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        conv: Conv = "conv2d",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
    ) -> None:
        widths = [width * 2**index for index in range(NUM_STAGES)]
        super().__init__(
            widths,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        kinds = Kinds(norm=norm, activation=activation, conv=conv)
        self.conv1 = make_conv(conv, in_channels, stem_channels, 3, stride=2)
        self.bn1 = make_norm(norm, stem_channels)
        self.act1 = make_activation(activation)
        self.conv2 = make_conv(conv, stem_channels, stem_channels, 3, stride=2)
        self.bn2 = make_norm(norm, stem_channels)
        self.act2 = make_activation(activation)

        channels = first_width * Bottleneck.expansion
        inputs = [stem_channels, *[channels] * (first_blocks - 1)]
        self.layer1 = nn.Sequential(*(Bottleneck(given, first_width, 1, kinds) for given in inputs))
        self.transition1 = nn.ModuleList(
            [
                make_convolution(channels, widths[0], 1, kinds),
                nn.Sequential(make_convolution(channels, widths[1], 2, kinds)),
            ]
        )
        self.stage2 = make_stage(num_modules[0], widths[:2], num_blocks, kinds)
        self.transition2 = make_transition(widths[:3], kinds)
        self.stage3 = make_stage(num_modules[1], widths[:3], num_blocks, kinds)
        self.transition3 = make_transition(widths, kinds)
        self.stage4 = make_stage(num_modules[2], widths, num_blocks, kinds, targets=self.out_indices)
        initialize(self, zero_init_residual=False)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck of the published model, for specs that name none; it joins the four resolutions."""
        if len(parameters["out_indices"]) < NUM_STAGES:
            return {}
        return {"neck": [{"type": "hr_fuse_scales"}, {"type": "global_average_pooling"}]}

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [
            [self.conv1, self.bn1, self.act1, self.conv2, self.bn2, self.act2],
            [self.layer1],
            [self.transition1, self.stage2],
            [self.transition2, self.stage3],
            [self.transition3, self.stage4],
        ]

    def forward(self, images: Tensor) -> Outputs:
        self.check_size(images)
        stem, first, *_ = self.stem_and_stages()
        maps = [self.run_stage(first, self.run_stage(stem, images))]
        parallel = [
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ]
        for transition, stage in parallel:
            # A new branch starts from the smallest map; the first two both start from the only one.
            sources = [*maps, maps[-1]]
            maps = [layer(source) for layer, source in zip(transition, sources, strict=True)]
            for module in stage:
                maps = self.run(module, *maps)
        return self.pack(maps)


def make_stage(
    num_modules: int, widths: Sequence[int], num_blocks: int, kinds: Kinds, targets: Sequence[int] | None = None
) -> nn.ModuleList:
    """Chain modules, of which the last returns the resolutions in `targets`, or all of them."""
    every = range(len(widths))
    asked = [*[every] * (num_modules - 1), every if targets is None else targets]
    return nn.ModuleList(HighResolutionModule(widths, num_blocks, wanted, kinds) for wanted in asked)


def make_path(widths: Sequence[int], source: int, target: int, kinds: Kinds) -> nn.Module:
    """Bring a branch to another one's channels, and to its resolution if that is lower."""
    if source == target:
        return nn.Identity()
    norm = make_norm(kinds["norm"], widths[target])
    if source > target:
        return nn.Sequential(make_conv(kinds["conv"], widths[source], widths[target], 1), norm)
    halvings = [make_convolution(widths[source], widths[source], 2, kinds) for _ in range(source + 1, target)]
    last = nn.Sequential(make_conv(kinds["conv"], widths[source], widths[target], 3, stride=2), norm)
    return nn.Sequential(*halvings, last)


def make_transition(widths: Sequence[int], kinds: Kinds) -> nn.ModuleList:
    """Pass all branches on, and start one more from the last, of half its resolution."""
    new_branch = nn.Sequential(make_convolution(widths[-2], widths[-1], 2, kinds))
    return nn.ModuleList([*(nn.Identity() for _ in widths[:-1]), new_branch])


def make_convolution(in_channels: int, out_channels: int, stride: int, kinds: Kinds) -> nn.Sequential:
    return nn.Sequential(
        make_conv(kinds["conv"], in_channels, out_channels, 3, stride=stride),
        make_norm(kinds["norm"], out_channels),
        make_activation(kinds["activation"]),
    )


hrnet_w18_small = partial(HRNet, width=16, num_modules=(1, 1, 1), num_blocks=2, first_width=32, first_blocks=1)
hrnet_w18_small_v2 = partial(HRNet, width=18, num_modules=(1, 3, 2), num_blocks=2, first_blocks=2)
hrnet_w18 = partial(HRNet, width=18)
hrnet_w30 = partial(HRNet, width=30)
hrnet_w32 = partial(HRNet, width=32)
hrnet_w40 = partial(HRNet, width=40)
hrnet_w44 = partial(HRNet, width=44)
hrnet_w48 = partial(HRNet, width=48)
hrnet_w64 = partial(HRNet, width=64)
