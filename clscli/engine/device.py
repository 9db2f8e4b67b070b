"""Which device to compute on, and in which precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clscli.errors import UsageError
from clscli.machine import keep_freed_memory
from clscli.models.layers.outputs import Outputs


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is there.

    `auto` is the first of CUDA, MPS and CPU that works. On CUDA, float32 products may use TF32 from then on,
    in train, eval and predict alike; on the CPU, the process keeps the memory of tensors for the next ones.
    Raises UsageError in words for a device that is not there.
    """
    device = _device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return _cuda(None)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: no such device -- write auto, cpu, cuda, cuda:1 or mps")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            built = torch.version.cuda
            why = (
                f"this torch is built for CUDA {built}, but finds no usable GPU"
                if built
                else "this torch has no CUDA"
            )
            raise UsageError(f"--device {name}: {why} -- use --device cpu, or auto")
        if device.index is not None and device.index >= count:
            raise UsageError(f"--device {name}: there are {count} CUDA devices, counted from cuda:0")
        return _cuda(device.index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"--device {name}: MPS is not available here -- use --device cpu, or auto")
    return device


def _cuda(index: int | None) -> torch.device:
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda", torch.cuda.current_device() if index is None else index)


def device_name(device: torch.device) -> str:
    """Name a device for people: `cuda:0 (NVIDIA H100)`, `cpu (2 threads)`."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} thread{'s' if threads > 1 else ''})"
    return str(device)


@dataclass(frozen=True)
class Execution:
    """How training steps are computed. Evaluation is always in float32, the same in train, eval and predict."""

    precision: str  # float32 | bfloat16 | float16
    channels_last: bool
    threads: int | None = None  # on the CPU; the numbers depend on it, in the last digits
    compiled: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The type that convolutions and matrix products compute in."""
        dtype: torch.dtype = getattr(torch, self.precision)
        return dtype

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def forward(self, model: nn.Module) -> Callable[[Tensor], Outputs]:
        """Return a model as training steps call it; the model itself, and its state dict, stay as they are.

        What is compiled is for one size of batch each: code for any size is slower, and which sizes came first
        would decide what is computed, so that a resumed run could differ.
        """
        return torch.compile(model, dynamic=False) if self.compiled else model

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context in which a training step's forward pass runs."""
        enabled = self.precision != "float32"
        context: AbstractContextManager[None] = torch.autocast(device.type, self.dtype, enabled=enabled)
        return context

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Return the gradient scaler; only float16 needs one, for the others it does nothing."""
        return torch.amp.GradScaler(device.type, enabled=self.precision == "float16")

    @contextmanager
    def limit_threads(self) -> Iterator[None]:
        """While entered, compute with the chosen number of threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def __str__(self) -> str:
        return self.precision + ", channels last" * self.channels_last + ", compiled" * self.compiled
