"""Checkpoints: tensors and plain values, written atomically, never unpickled.

A checkpoint of `format` 1 is a dict of

    spec          the resolved spec, as nested plain values
    classes       class names, in the order of the logits
    class_counts  how many training pictures each class had, which some losses need
    image_shape   (C, H, W) of what the model was built for
    weights       the model's state dict
    metrics       of the epoch that the weights are from
    versions      of clscli, torch, and every package whose components the spec names
    multi_label   True, where pictures have several labels each; then also
    num_samples   how many training pictures there were
    training      (last.pth only) what `--resume` needs: optimizer, progress, hooks, ...
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clscli.engine.multi_label_metrics import THRESHOLD
from clscli.errors import CheckpointError, MissingPackageError, PluginError, SpecError, UsageError
from clscli.files import atomic_write
from clscli.models.build import Blueprint, build_model
from clscli.models.classifier import Classifier
from clscli.plugins import CORE
from clscli.spec import ResolvedSpec, check_structure, read_draft, resolve
from clscli.spec.check import unknown_names
from clscli.spec.schema import EVERYTHING
from clscli.toml import Path as KeyPath

log = logging.getLogger("clscli")

FORMAT = 1
_CONTENT = {
    "classes": list,
    "class_counts": list,
    "image_shape": list,
    "weights": dict,
    "metrics": dict,
    "versions": dict,
    "training": dict | None,
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it is on disk; the model is built only when asked for."""

    path: Path
    spec: dict[str, Any]
    classes: list[str]
    class_counts: tuple[int, ...]
    image_shape: tuple[int, int, int]
    weights: dict[str, Tensor]
    metrics: dict[str, float]
    versions: dict[str, str]
    training: dict[str, Any] | None
    multi_label: bool
    num_samples: int

    def threshold(self, wanted: float | None) -> float:
        """Return the score from which on a label is given. Raises UsageError where a model gives just one."""
        if wanted is not None and not self.multi_label:
            raise UsageError(
                f"threshold: {self.path} gives each picture one class -- a threshold is for several labels"
            )
        if wanted is not None and not 0 <= wanted <= 1:
            raise UsageError(f"threshold must be from 0 to 1, got {wanted:g}")
        return THRESHOLD if wanted is None else wanted

    def resolve(self, needed: Set[KeyPath] = EVERYTHING) -> ResolvedSpec:
        """Check the spec against what is installed here, as far as the `needed` slots go.

        Warns of plugins whose version is another one now. Raises CheckpointError naming the package and version
        that is missing or no longer fits, PluginError for one that cannot be used.
        """
        trained = f"(trained with {', '.join(f'{name} {version}' for name, version in self.versions.items())})"
        for _, error in unknown_names(self.spec, needed):
            version = self.versions.get(error.dist) if isinstance(error, MissingPackageError) else None
            known = f"=={version} (the version that it was trained with)" if version else f" {trained}"
            raise CheckpointError(f"{self.path}: {error}{known}")
        try:
            draft = read_draft(self.spec)
            spec = resolve(draft, check_structure(draft, needed), needed)
        except SpecError as error:
            raise CheckpointError(
                f"{self.path}: its spec does not fit what is installed here: {error.problems[0]} {trained}"
            ) from None
        except PluginError as error:
            raise PluginError(f"{self.path}: {error} {trained}") from error
        self._warn_of_other_versions(spec)
        return spec

    def _warn_of_other_versions(self, spec: ResolvedSpec) -> None:
        """Say which packages are not of the version that the checkpoint was trained with.

        Of others only: that an old checkpoint means what it meant is clscli's own promise.
        """
        for name, installed in component_versions(spec).items():
            trained = self.versions.get(name, installed)
            if trained != installed and name not in (CORE, "torch"):
                log.warning(
                    "%s: was trained with %s %s, and %s is installed: results may differ -- pip install %s==%s",
                    *(self.path, name, trained, installed, name, trained),
                )

    def build(self, spec: ResolvedSpec) -> Classifier:
        """Build the model and give it the saved weights. Raises CheckpointError when they do not fit."""
        model = build_model(spec, Blueprint(len(self.classes), self.image_shape))
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{self.path}: the weights do not fit the model built here: {reason}") from None
        return model


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint onto the CPU. Nothing in it is executed, whatever it holds.

    Raises CheckpointError for what is missing, truncated, not a checkpoint of clscli's, or not just data.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder -- give the checkpoint in it: {path / 'best.pth'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch muses about odd pickles; ours is the message below
            data = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except pickle.UnpicklingError:
        if not _may_be_pickled(path):
            raise CheckpointError(f"{path}: cannot be read: it is truncated, or no checkpoint") from None
        raise CheckpointError(f"{path}: holds more than plain data, and is not loaded for safety") from None
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception:  # zip and pickle readers raise whatever broken bytes lead them to
        raise CheckpointError(f"{path}: cannot be read: it is truncated, or no checkpoint") from None
    if not isinstance(data, dict) or "format" not in data or not isinstance(data.get("spec"), dict):
        raise CheckpointError(
            f"{path}: is not a checkpoint of clscli's -- for weights alone: model.backbone.pretrained"
        )
    if data["format"] != FORMAT:
        raise CheckpointError(f"{path}: has format {data['format']!r}, this clscli reads format {FORMAT}")
    for key, kind in _CONTENT.items():
        if not isinstance(data.get(key), kind):
            raise CheckpointError(f"{path}: is incomplete: '{key}' is missing or of the wrong type")
    return Checkpoint(
        path,
        spec=data["spec"],
        classes=data["classes"],
        class_counts=tuple(data["class_counts"]),
        image_shape=tuple(data["image_shape"]),
        weights=data["weights"],
        metrics=data["metrics"],
        versions=data["versions"],
        training=data.get("training"),
        multi_label=data.get("multi_label") is True,
        num_samples=data.get("num_samples", sum(data["class_counts"])),
    )


def _may_be_pickled(path: Path) -> bool:
    """Tell by its first bytes whether a file is a zip archive or a pickle; torch reads any text as a pickle."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"PK", b"\x80"))


def checkpoint_data(
    spec: ResolvedSpec,
    classes: list[str],
    class_counts: tuple[int, ...],
    image_shape: tuple[int, int, int],
    weights: dict[str, Tensor],
    metrics: dict[str, float],
    *,
    num_samples: int | None = None,
) -> dict[str, Any]:
    """Collect what every checkpoint holds; `training` is added for `last.pth`.

    `num_samples`, the number of training pictures, is for those with several labels each.
    """
    return {
        "format": FORMAT,
        "spec": spec.values,
        "classes": classes,
        "class_counts": list(class_counts),
        "image_shape": list(image_shape),
        "weights": weights,
        "metrics": metrics,
        "versions": component_versions(spec),
        **({} if num_samples is None else {"multi_label": True, "num_samples": num_samples}),
    }


def component_versions(spec: ResolvedSpec) -> dict[str, str]:
    """Return the versions of clscli, torch, and every package whose components the spec names."""
    versions = {b.component.dist: b.component.version for b in spec.components.values()}
    return {**dict(sorted(versions.items())), "torch": str(torch.__version__)}


def save_checkpoint(data: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that `path` is always whole: the old one, or the new one.

    Raises WriteError, leaving the old file as it was, when it cannot be written.
    """
    with atomic_write(path) as temporary:
        try:
            with temporary.open("wb") as file:  # of a file that torch opens itself, it tells nobody what is wrong
                torch.save(data, file)
        except RuntimeError as error:  # raised by torch over the OSError
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
