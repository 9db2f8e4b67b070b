"""Evaluate a checkpoint on labelled pictures."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from clscli.data.catalog import open_split
from clscli.data.loader import BatchLoader
from clscli.data.pipeline import build_transforms
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.device import choose_device
from clscli.engine.evaluate import evaluate_model
from clscli.engine.loop import Observer
from clscli.engine.metrics import Evaluation
from clscli.models.build import build_loss
from clscli.spec.schema import EVALUATING


def evaluate(
    ckpt: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    split: str = "val",
    device: str = "auto",
    observer: Observer | None = None,
) -> Evaluation:
    """Evaluate a checkpoint on the pictures of a folder, or on those that it was trained with.

    `split` is val, test or train. Raises CheckpointError or DataError.
    """
    chosen = choose_device(device)
    observer = observer or Observer()
    checkpoint = load_checkpoint(ckpt)
    spec = checkpoint.resolve(EVALUATING)
    root = Path(data) if data is not None else None
    view = open_split(spec, split, checkpoint.classes, root=root, run=checkpoint.path.parent)
    model = checkpoint.build(spec).to(chosen)
    loss = build_loss(spec, checkpoint.class_counts)
    if isinstance(loss, nn.Module):
        loss.to(chosen)
    loader = BatchLoader(
        view,
        build_transforms(spec, split if split != "train" else "val"),
        batch_size=spec.spec.data.batch_size,
        seed=spec.spec.seed,
        shuffle=False,
        num_workers=spec.spec.data.num_workers,
        pin_memory=chosen.type == "cuda",
    )
    observer.begin("evaluating", len(view))
    try:
        return evaluate_model(
            model, loader, loss, chosen, on_bad_image=spec.spec.data.on_bad_image, tick=observer.tick
        )
    finally:
        loader.close()
