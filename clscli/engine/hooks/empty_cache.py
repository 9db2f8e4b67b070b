"""Give memory back between epochs."""

from __future__ import annotations

import gc
from typing import ClassVar

import torch

from clscli.engine.hooks import HookState
from clscli.models.fields import PositiveInt


class EmptyCache:
    """Give unused memory back to the GPU, and to Python, after every `every`-th epoch.

    For a GPU that is shared, or whose memory is fragmented by batches of different sizes; it makes nothing
    faster, since torch has to ask for the memory again. Priority 900: after the hooks that use memory.
    """

    priority: ClassVar[int] = 900

    def __init__(self, *, every: PositiveInt = 1) -> None:
        self.every = every

    def on_epoch_end(self, state: HookState) -> None:
        """Collect cycles first: what they hold cannot be given back."""
        if (state.epoch + 1) % self.every:
            return
        gc.collect()
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        elif state.device.type == "mps":
            torch.mps.empty_cache()
