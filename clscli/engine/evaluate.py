"""Evaluate a model on the labelled pictures of a loader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from clscli.data.loader import BatchLoader
from clscli.engine.metrics import Evaluation, Totals
from clscli.errors import DataError
from clscli.models.classifier import Classifier


class Ticker(Protocol):
    """Called after every batch with the number of images in it: for progress bars, and to stop by raising."""

    def __call__(self, num_images: int, /) -> None: ...


@torch.inference_mode()
def evaluate_model(
    model: Classifier,
    loader: BatchLoader,
    loss: Callable[[Tensor, Tensor], Tensor],
    device: torch.device,
    *,
    on_bad_image: str = "error",
    tick: Ticker = lambda num_images: None,
) -> Evaluation:
    """Run a model over every sample of a loader, each exactly once, in float32.

    Raises DataError at the first picture that cannot be read, unless `on_bad_image` is "skip": then it is
    named in the result and in none of its numbers.
    """
    was_training = model.training
    model.eval()
    totals = Totals(len(loader.view.classes), device)
    unreadable: list[tuple[str, str]] = []
    for batch in loader.epoch(0):
        unreadable += named_unreadable(loader, batch.unreadable, on_bad_image)
        if len(batch.targets):
            images = batch.images.to(device, non_blocking=True)
            targets = batch.targets.to(device, non_blocking=True)
            logits = model.predict(images)
            totals.add(logits, targets, loss(logits, targets))
        tick(len(batch.targets))
    model.train(was_training)
    return totals.result(loader.view.classes, unreadable)


def named_unreadable(
    loader: BatchLoader, unreadable: list[tuple[int, str]], on_bad_image: str
) -> list[tuple[str, str]]:
    """Name the pictures of a batch that could not be read; raises DataError unless they may be skipped."""
    named = [(loader.view[index].name, reason) for index, reason in unreadable]
    if named and on_bad_image == "error":
        path, reason = named[0]
        raise DataError(f'{path}: {reason} -- mend or remove it, or set data.on_bad_image = "skip"')
    return named
