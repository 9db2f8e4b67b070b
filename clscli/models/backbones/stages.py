"""What backbones made of stages share: outputs, freezing, gradient checkpointing, sizes, weights of others."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from clscli.models.layers.outputs import Outputs
from clscli.models.matching import KeyMap


class StagedBackbone(nn.Module, ABC):
    """Run a stem and a chain of stages, and return the outputs of the stages in `out_indices`.

    A subclass passes the channels of all its stages to ``super().__init__``, builds the first `depth` of
    them, lists what it built in `stem_and_stages`, and ends its own ``__init__`` with ``self.freeze()``.
    Stages after the deepest one asked for are not built: their parameters would take memory, decay without
    ever getting a gradient, and make distributed training wait for gradients that never come.

    `frozen_stages` counts stages: 0 freezes nothing, n freezes the stem and the first n stages. `norm_eval`
    keeps every batch norm in evaluation mode, so that small batches do not move its statistics.
    `gradient_checkpointing` computes the blocks a second time in the backward pass instead of keeping what
    is inside them: less memory for about a third more time, and the same numbers.

    `min_size` and `size_multiple` are what a subclass needs of an image's height and width, in pixels; it
    sets them before its first ``forward``.
    """

    out_channels: int | tuple[int, ...]
    min_size: int = 1
    size_multiple: int = 1
    # How other libraries name the same parameters: see `matching.py`.
    key_maps: ClassVar[Mapping[str, KeyMap]] = {}

    def __init__(
        self,
        stage_channels: Sequence[int],
        *,
        out_indices: tuple[int, ...],
        frozen_stages: int,
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        name, num_stages = type(self).__name__, len(stage_channels)
        if frozen_stages > num_stages:
            raise ValueError(
                f"{name} has {num_stages} stages, so frozen_stages must be at most {num_stages}, "
                f"got {frozen_stages}"
            )
        self.out_indices = resolve_indices(out_indices, num_stages, name)
        self.depth = self.out_indices[-1] + 1
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.gradient_checkpointing = gradient_checkpointing
        channels = tuple(stage_channels[index] for index in self.out_indices)
        self.out_channels = channels if len(channels) > 1 else channels[0]

    @abstractmethod
    def stem_and_stages(self) -> list[list[nn.Module]]:
        """Return the modules of the stem, then of each built stage, in the order in which they run."""

    def forward(self, images: Tensor) -> Outputs:
        self.check_size(images)
        features, outputs = images, []
        for index, modules in enumerate(self.stem_and_stages(), start=-1):
            features = self.run_stage(modules, features)
            if index in self.out_indices:
                outputs.append(features)
        return self.pack(outputs)

    def run_stage(self, modules: Sequence[nn.Module], features: Tensor) -> Tensor:
        """Run the modules of a stage in turn."""
        for part in parts_of(modules) if self.recomputes else modules:
            features = self.run(part, features)
        return features

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        """Call a block, and let the backward pass call it again if gradients are checkpointed."""
        if not self.recomputes:
            return block(*inputs)
        if torch.compiler.is_compiling():  # it recomputes without side effects, and takes no contexts
            return checkpoint(block, *inputs, use_reentrant=False)
        return checkpoint(block, *inputs, use_reentrant=False, context_fn=partial(_contexts, block))

    @property
    def recomputes(self) -> bool:
        """Whether the pass that is running will be followed by one that computes the blocks again."""
        return self.gradient_checkpointing and self.training and torch.is_grad_enabled()

    def check_size(self, images: Tensor) -> None:
        """Raise ValueError when the images (B, C, H, W) are too small, or do not divide into patches."""
        height, width = images.shape[-2:]
        if min(height, width) < self.min_size:
            raise ValueError(
                f"{type(self).__name__} needs images of at least {self.min_size}x{self.min_size} pixels, "
                f"got {height}x{width}"
            )
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(
                f"{type(self).__name__} needs images whose height and width are multiples of "
                f"{self.size_multiple}, got {height}x{width}"
            )

    def pack(self, outputs: list[Tensor]) -> Outputs:
        """Return a single output bare and several as a tuple, like `out_channels`."""
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    def freeze(self) -> None:
        """Take the frozen stages out of training, and with the stem the parameters that are in no module."""
        for module in self.frozen_modules():
            module.requires_grad_(False)
        if self.frozen_stages > 0:
            for parameter in self.parameters(recurse=False):
                parameter.requires_grad_(False)
        self.train(self.training)

    def frozen_modules(self) -> list[nn.Module]:
        """Return the modules of the stem and of the first `frozen_stages` stages."""
        if self.frozen_stages == 0:
            return []
        return [module for modules in self.stem_and_stages()[: self.frozen_stages + 1] for module in modules]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def parts_of(modules: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """Yield the blocks of a stage one by one: what is checkpointed, and computed twice, as a whole.

    A chain of blocks is taken apart; single layers in a row, and chains of layers, are one part.
    """
    layers: list[nn.Module] = []
    for module in modules:
        if not any(True for child in module.children()) or _is_chain_of_layers(module):
            layers.append(module)
            continue
        yield from _joined(layers)
        layers = []
        yield from module if isinstance(module, nn.Sequential) else [module]
    yield from _joined(layers)


def _is_chain_of_layers(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and not any(True for child in module for _ in child.children())


def _joined(layers: list[nn.Module]) -> Iterator[nn.Module]:
    if layers:
        yield layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _without_tracking(block)


@contextmanager
def _without_tracking(block: nn.Module) -> Iterator[None]:
    """Let batch norms take in a batch's statistics a second time on copies, and keep the first."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({n: b.clone() if b is not None else None for n, b in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)


def resolve_indices(indices: tuple[int, ...], num_stages: int, name: str) -> tuple[int, ...]:
    """Return `indices` counted from the first stage, or raise ValueError in the words of `out_indices`."""
    if not indices:
        raise ValueError(f"{name} needs at least one stage in out_indices, got none")
    if not all(-num_stages <= index < num_stages for index in indices):
        raise ValueError(
            f"{name} has {num_stages} stages, so out_indices must be between -{num_stages} and "
            f"{num_stages - 1}, got {list(indices)}"
        )
    resolved = tuple(index % num_stages for index in indices)
    if any(deeper <= shallower for shallower, deeper in pairwise(resolved)):
        raise ValueError(
            f"{name} returns its {num_stages} stages from shallow to deep, so out_indices must increase, "
            f"got {list(indices)}"
        )
    return resolved
