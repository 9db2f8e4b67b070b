"""What is checked of backbones, and of all whose outputs are features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from clscli.errors import describe
from clscli.testing.case import RuleError
from clscli.testing.modules import ModuleCase, shown


def random_floats(shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw a tensor, the same every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def channels_of(module: nn.Module) -> tuple[int, ...] | None:
    """Return `out_channels` as a tuple; None where it is not what it must be."""
    channels: Any = getattr(module, "out_channels", None)
    channels = (channels,) if isinstance(channels, int) else channels
    if not isinstance(channels, tuple | list) or not channels:
        return None
    return tuple(channels) if all(isinstance(c, int) and c > 0 for c in channels) else None


class FeatureCase(ModuleCase):
    """A backbone or neck: what comes out of it are features."""

    def check_out_channels(self) -> None:
        """Look at the attribute."""
        module = self.build()
        if channels_of(module) is None:
            found = getattr(module, "out_channels", None)
            raise RuleError(f"out_channels is {found!r}", "set self.out_channels in __init__", is_fatal=True)

    def check_outputs(self) -> None:
        """Compare the shapes of outputs with `out_channels`, for two sizes of batch."""
        for batch_size in (2, 1):
            outputs = self.run(self.module, self.make_inputs(batch_size))
            self.compare(outputs, batch_size)

    def compare(self, outputs: Any, batch_size: int) -> None:
        """Raise RuleError unless the outputs are what `out_channels` promises."""
        every = (outputs,) if isinstance(outputs, Tensor) else outputs
        advice = "return a map or a vector for each of out_channels"
        is_features = isinstance(every, tuple) and all(
            isinstance(o, Tensor) and o.is_floating_point() and o.ndim > 1 and len(o) == batch_size for o in every
        )
        if not is_features:
            raise RuleError(f"for {batch_size} pictures it returns {shown(outputs)}", advice, is_fatal=True)
        found, promised = tuple(o.shape[1] for o in every), channels_of(self.module)
        if found != promised:
            raise RuleError(
                f"out_channels says {listed(promised)}, but its outputs have {listed(found)} channels",
                advice,
                is_fatal=True,
            )


class BackboneCase(FeatureCase):
    """A backbone."""

    injected: Mapping[str, Any] = {"in_channels": 3}

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """The first size that it takes."""
        sizes = self.inputs.image_sizes
        for size in sizes:
            if (refusal := self.refusal(size)) is None:
                return size
        raise RuleError(
            f"it takes no picture of {' or '.join(map(_size, sizes))}; of {_size(sizes[-1])} it says: {refusal}",
            "name sizes that it takes: "
            f'check_component("backbones", "{self.bound.component.name}", Inputs(image_sizes=((224, 224),)))',
            is_fatal=True,
        )

    def refusal(self, size: tuple[int, int]) -> str | None:
        """Return the words with which it refuses a size, or None."""
        module: nn.Module = self.build()
        module.eval()
        try:
            self.run(module, random_floats((2, 3, *size), 0))
        except ValueError as error:
            return str(error)
        return None

    def make_inputs(self, batch_size: int, seed: int = 0) -> Tensor:
        return random_floats((batch_size, 3, *self.image_size), seed)

    def check_sizes(self) -> None:
        """Try all sizes of pictures."""
        for size in self.inputs.image_sizes:
            try:
                refusal = self.refusal(size)
            except Exception as error:
                raise RuleError(
                    f"pictures of {_size(size)} fail with {describe(error)}",
                    "pool what depends on the size, or raise a ValueError that says which sizes it needs",
                ) from error
            if refusal is None:
                outputs = self.run(self.module, random_floats((1, 3, *size), 0))
                self.compare(outputs, 1)
            elif not refusal:
                raise RuleError(f"it refuses {_size(size)} without a word", "say in the ValueError what it needs")

    def check_channels(self) -> None:
        """Build it for gray pictures."""
        try:
            module: nn.Module = self.build(in_channels=1)
            module.eval()
            self.run(module, self.make_inputs(2)[:, :1])
        except Exception as error:
            raise RuleError(
                f"pictures of 1 channel fail with {describe(error)}",
                "take in_channels as a parameter, and give it to the first layer",
            ) from error


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def listed(values: Any) -> str:
    """Join numbers for a message."""
    return " and ".join(str(value) for value in values)
