"""Predict the classes of pictures with nothing but a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clscli.data.decode import Source, UnreadableImageError
from clscli.data.loader import auto_workers, stack
from clscli.data.pipeline import build_transforms
from clscli.data.prefetch import prefetch
from clscli.data.read import read
from clscli.engine.checkpoint import Checkpoint, load_checkpoint
from clscli.engine.device import choose_device
from clscli.engine.upload import to_device
from clscli.errors import DataError, UsageError
from clscli.spec.schema import PREDICTING


@dataclass(frozen=True)
class Score:
    """A class and its probability."""

    name: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, best first; or, if it cannot be read, why.

    Of a model that gives several labels, all that are probable enough: that may be none.
    """

    path: str
    scores: list[Score]
    error: str | None = None

    @property
    def top(self) -> str:
        """The most probable class; IndexError where there is none."""
        return self.scores[0].name

    def as_json(self) -> dict[str, Any]:
        """Return the line of `clscli predict --format jsonl`."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        return {"path": self.path, "predictions": [{"class": s.name, "score": s.score} for s in self.scores]}


class Predictor:
    """A model ready to use: `clscli.load("best.pth").predict("img.jpg")`."""

    def __init__(self, checkpoint: Checkpoint, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.spec = checkpoint.resolve(PREDICTING)
        self.classes = checkpoint.classes
        self.metrics = checkpoint.metrics
        self.multi_label = checkpoint.multi_label
        self._threshold = checkpoint.threshold
        self.transforms = build_transforms(self.spec, "predict")
        self.model = checkpoint.build(self.spec).to(self.device).eval()

    def predict(
        self, source: Source | Sequence[Source], topk: int | None = None, *, threshold: float | None = None
    ) -> Any:
        """Predict one picture, or a list of them: paths, encoded bytes or Pillow images.

        The `topk` most probable classes, 5 without it. A model that gives several labels (`multi_label`) gives
        all with a score of at least `threshold`, 0.5 without it, and not more than `topk` if that is said.

        Returns a Prediction, or a list of them in the same order. Raises DataError for the first picture that
        cannot be read; `stream` goes on instead.
        """
        many = isinstance(source, Sequence) and not isinstance(source, str | bytes)
        sources: Sequence[Source] = source if many else [source]  # type: ignore[list-item, assignment]
        results = list(self.stream(sources, topk, threshold=threshold))
        for result in results:
            if result.error is not None:
                raise DataError(f"{result.path}: {result.error}")
        return results if many else results[0]

    def stream(
        self,
        sources: Iterable[Source],
        topk: int | None = None,
        *,
        threshold: float | None = None,
        batch_size: int | None = None,
    ) -> Iterator[Prediction]:
        """Predict pictures as they come, in order; memory does not grow with their number.

        A picture that cannot be read gives a Prediction with `error`.
        """
        if topk is None:
            topk = len(self.classes) if self.multi_label else 5
        if topk < 1:
            raise UsageError(f"topk must be at least 1, got {topk}")
        least = self._threshold(threshold) if self.multi_label or threshold is not None else 0.0
        size = batch_size or self.spec.spec.data.images_per_batch
        waiting: list[tuple[str, Tensor | str]] = []
        for name, image in prefetch(self._read, sources, threads=auto_workers(), ahead=2 * size):
            if waiting and not _fit(waiting, image):
                yield from self._predict_batch(waiting, topk, least)
                waiting = []
            waiting.append((name, image))
            if len(waiting) == size:
                yield from self._predict_batch(waiting, topk, least)
                waiting = []
        yield from self._predict_batch(waiting, topk, least)

    def _read(self, source: Source) -> tuple[str, Tensor | str]:
        name = str(source) if isinstance(source, str | Path) else "(not a file)"
        try:
            return name, read(source, self.transforms, scaled_decode=self.spec.spec.data.scaled_decode)
        except UnreadableImageError as error:
            return name, str(error)

    def _logits(self, images: Tensor) -> Tensor:
        try:
            return self.model.predict(to_device(images, self.device)).float()
        except Exception as error:
            from clscli.engine.culprit import blame  # only now: it imports all that trains

            explained = blame(error, self.spec, "in a prediction")
            if explained is None:
                raise
            raise explained from error

    @torch.inference_mode()
    def _predict_batch(
        self, items: list[tuple[str, Tensor | str]], topk: int, least: float
    ) -> Iterator[Prediction]:
        images = [image for _, image in items if isinstance(image, Tensor)]
        rows: Iterator[tuple[list[float], list[int]]] = iter(())
        if images:
            logits = self._logits(stack(images))
            scores = logits.sigmoid() if self.multi_label else logits.softmax(1)
            best = scores.topk(min(topk, len(self.classes)), dim=1)
            rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        for name, image in items:
            if isinstance(image, str):
                yield Prediction(name, [], image)
            else:
                named = zip(*next(rows), strict=True)
                yield Prediction(name, [Score(self.classes[i], score) for score, i in named if not score < least])


def _fit(waiting: list[tuple[str, Tensor | str]], image: Tensor | str) -> bool:
    """Tell whether an image can be stacked with those that wait: a pipeline may leave sizes as they are."""
    other = next((i for _, i in waiting if isinstance(i, Tensor)), None)
    return other is None or isinstance(image, str) or other.shape == image.shape


def load(path: str | os.PathLike[str], *, device: str = "auto") -> Predictor:
    """Load a checkpoint to predict with. Raises CheckpointError when that cannot be done."""
    return Predictor(load_checkpoint(path), device)


def predict(
    sources: Source | Sequence[Source],
    *,
    ckpt: str | os.PathLike[str],
    topk: int | None = None,
    threshold: float | None = None,
    device: str = "auto",
) -> Any:
    """Predict one picture or a list of them with a checkpoint; see `Predictor.predict`."""
    return load(ckpt, device=device).predict(sources, topk, threshold=threshold)
