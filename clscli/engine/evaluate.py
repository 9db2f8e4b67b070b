"""Evaluate a model, or a checkpoint, on labelled pictures."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from clscli.data.catalog import check_labels, open_split
from clscli.data.layout import as_root
from clscli.data.loader import BatchLoader, Loader
from clscli.data.pipeline import build_transforms
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.culprit import naming_components
from clscli.engine.device import choose_device
from clscli.engine.distributed import ALONE, World
from clscli.engine.metrics import Totals, batch_total
from clscli.engine.multi_label_metrics import THRESHOLD, AnyEvaluation, Scores
from clscli.engine.upload import uploaded
from clscli.errors import DataError
from clscli.models.build import build_loss
from clscli.models.classifier import Classifier
from clscli.models.losses.contract import Loss
from clscli.observer import Observer
from clscli.spec.schema import EVALUATING


def evaluate(
    ckpt: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    split: str = "val",
    device: str = "auto",
    threshold: float | None = None,
    observer: Observer | None = None,
) -> AnyEvaluation:
    """Evaluate a checkpoint on the pictures of a folder, here or at a URL, or on those that it was trained with.

    `split` is val, test or train. `threshold` is the score from which on a label is given, 0.5 without it, where
    the model gives several labels; for another one it raises UsageError. Raises CheckpointError or DataError.
    """
    chosen = choose_device(device)
    checkpoint = load_checkpoint(ckpt)
    least_score = checkpoint.threshold(threshold)
    spec = checkpoint.resolve(EVALUATING)
    root = as_root(os.fspath(data)) if data is not None else None
    view = open_split(spec, split, checkpoint.classes, root=root, run=checkpoint.path.parent)
    check_labels(view, f"{root or split}: the pictures", multi_label=checkpoint.multi_label)
    model = checkpoint.build(spec).to(chosen)
    loss = build_loss(spec, checkpoint.class_counts, num_samples=checkpoint.num_samples)
    if isinstance(loss, nn.Module):
        loss.to(chosen)
    loader = BatchLoader(
        view,
        build_transforms(spec, split if split != "train" else "val"),
        batch_size=spec.spec.data.images_per_batch,
        seed=spec.spec.seed,
        num_workers=spec.spec.data.num_workers,
        image_shape=checkpoint.image_shape,
        scaled_decode=spec.spec.data.scaled_decode,
        pin_memory=chosen.type == "cuda",
    )
    if observer is not None:
        observer.begin("evaluating", len(view))
    try:
        on_bad_image = spec.spec.data.on_bad_image
        with naming_components(spec, "in an evaluation"):
            return evaluate_model(
                *(model, loader, loss, chosen),
                on_bad_image=on_bad_image,
                observer=observer,
                threshold=least_score,
            )
    finally:
        loader.close()


def evaluate_model(
    model: Classifier,
    loader: Loader,
    loss: Loss,
    device: torch.device,
    *,
    on_bad_image: str = "error",
    observer: Observer | None = None,
    world: World = ALONE,
    stand_in: Tensor | None = None,
    threshold: float = THRESHOLD,
) -> AnyEvaluation:
    """Run a model over every sample of a loader, each exactly once, in float32.

    Several processes take a slice of every batch each, and all of them get the result for the whole. If the model
    is divided between them, one with an empty slice computes `stand_in` for the others, which wait for its part.
    Raises DataError at the first picture that cannot be read, unless `on_bad_image` is "skip": then it is
    named in the result and in none of its numbers.
    """
    observer = observer or Observer()
    modes = {module: module.training for module in (model, loss) if isinstance(module, nn.Module)}
    for module in modes:
        module.eval()
    num_classes = len(loader.view.classes)
    totals = Scores(num_classes, threshold) if loader.view.multi_label else Totals(num_classes, device)
    unreadable: list[tuple[str, str]] = []
    # What a divided model gathers in inference mode, it could not train with any more.
    with torch.inference_mode() if stand_in is None else torch.no_grad():
        for batch in uploaded(loader.epoch(0), device):
            unreadable += named_unreadable(loader, batch.unreadable, on_bad_image)
            if len(batch.targets):
                targets = batch.targets
                logits = model.predict(batch.images)
                totals.add(logits, targets, batch_total(loss, loss(logits, targets), len(targets)))
            elif stand_in is not None:
                model.predict(stand_in)
            observer.tick(len(batch.targets) * world.size)  # the others' slices are as large, or smaller by one
    for module, was_training in modes.items():
        module.train(was_training)
    unreadable = [(path, reason) for own in world.gather(unreadable) for path, reason in own]
    return totals.result(loader.view.classes, unreadable, world)


def named_unreadable(
    loader: Loader, unreadable: list[tuple[int, str]], on_bad_image: str
) -> list[tuple[str, str]]:
    """Name the pictures of a batch that could not be read; raises DataError unless they may be skipped."""
    named = [(loader.view.name(index), reason) for index, reason in unreadable]
    if named and on_bad_image == "error":
        path, reason = named[0]
        raise DataError(f'{path}: {reason} -- mend or remove it, or set data.on_bad_image = "skip"')
    return named
