"""Batches on their way to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from clscli.data.loader import Batch


def uploaded(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches with images and targets on the device.

    On CUDA, a batch is copied from pinned memory while the one before it is computed, on a stream of its own;
    nothing waits for the copy but the kernels that use it.
    """
    if device.type != "cuda":
        for batch in batches:
            yield _on_device(batch, device)
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            copied = _on_device(batch, device), stream.record_event()
        if waiting is not None:
            yield _arrived(*waiting, device)
        waiting = copied
    if waiting is not None:
        yield _arrived(*waiting, device)


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """Copy images to the device; channels last in memory stays, but on MPS, where not every kernel knows it."""
    layout = torch.contiguous_format if device.type == "mps" else torch.preserve_format
    return images.to(device, non_blocking=True, memory_format=layout)


def _on_device(batch: Batch, device: torch.device) -> Batch:
    images = to_device(batch.images, device)
    return batch._replace(images=images, targets=batch.targets.to(device, non_blocking=True))


def _arrived(batch: Batch, copied: torch.cuda.Event, device: torch.device) -> Batch:
    """Let the current stream wait for a copy, and keep its memory until that stream is done with it."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)
    for tensor in (batch.images, batch.targets):
        tensor.record_stream(current)
    return batch
