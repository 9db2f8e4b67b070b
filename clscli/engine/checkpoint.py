"""Checkpoints: tensors and plain values, written atomically, never unpickled.

A checkpoint of `format` 1 is a dict of

    spec          the resolved spec, as nested plain values
    classes       class names, in the order of the logits
    class_counts  how many training pictures each class had, which some losses need
    image_shape   (C, H, W) of what the model was built for
    weights       the model's state dict
    metrics       of the epoch that the weights are from
    versions      of clscli, torch, and every package whose components the spec names
    training      (last.pth only) what `--resume` needs: optimizer, progress, hooks, ...
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import warnings
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clscli import plugins
from clscli.errors import CheckpointError, SpecError, UnknownComponentError
from clscli.models.build import Blueprint, build_model
from clscli.models.classifier import Classifier
from clscli.spec import ResolvedSpec, check_structure, read_draft, resolve
from clscli.spec.schema import EVERYTHING, component_tables
from clscli.toml import Path as KeyPath

FORMAT = 1


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

    def resolve(self, needed: Set[KeyPath] = EVERYTHING) -> ResolvedSpec:
        """Check the spec against what is installed here, as far as the `needed` slots go.

        Raises CheckpointError naming the package and version that is missing or no longer fits.
        """
        for slot in component_tables(self.spec, needed):
            name = str(slot.table.get("type"))
            try:
                plugins.resolve(slot.kind, name)
            except UnknownComponentError as error:
                dist = name.partition(":")[0]
                version = self.versions.get(dist)
                known = f"=={version} (the version that it was trained with)" if version else ""
                raise CheckpointError(f"{self.path}: {error}{known}") from None
        try:
            draft = read_draft(self.spec)
            return resolve(draft, check_structure(draft, needed), needed)
        except SpecError as error:
            trained = ", ".join(f"{name} {version}" for name, version in self.versions.items())
            raise CheckpointError(
                f"{self.path}: its spec does not fit what is installed here: {error.problems[0]} "
                f"(trained with {trained})"
            ) from None

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
        raise CheckpointError(f"{path}: holds more than plain data, and is not loaded for safety") from None
    except Exception as error:  # zip and pickle readers raise whatever broken bytes lead them to
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{path}: cannot be read, truncated or not a checkpoint: {reason}") from None
    if not isinstance(data, dict) or "format" not in data or "spec" not in data:
        raise CheckpointError(
            f"{path}: is not a checkpoint of clscli's -- for weights alone: model.backbone.pretrained"
        )
    if data["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: has format {data['format']!r}, this clscli reads format {FORMAT} "
            f"(written by clscli {data.get('versions', {}).get('clscli', '?')})"
        )
    try:
        return Checkpoint(
            path,
            spec=data["spec"],
            classes=list(data["classes"]),
            class_counts=tuple(data["class_counts"]),
            image_shape=tuple(data["image_shape"]),
            weights=data["weights"],
            metrics=data["metrics"],
            versions=data["versions"],
            training=data.get("training"),
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: is incomplete: {error} is missing or of the wrong type") from None


def checkpoint_data(
    spec: ResolvedSpec,
    classes: list[str],
    class_counts: tuple[int, ...],
    image_shape: tuple[int, int, int],
    weights: dict[str, Tensor],
    metrics: dict[str, float],
) -> dict[str, Any]:
    """Collect what every checkpoint holds; `training` is added for `last.pth`."""
    return {
        "format": FORMAT,
        "spec": spec.values,
        "classes": classes,
        "class_counts": list(class_counts),
        "image_shape": list(image_shape),
        "weights": weights,
        "metrics": metrics,
        "versions": component_versions(spec),
    }


def component_versions(spec: ResolvedSpec) -> dict[str, str]:
    """Return the versions of clscli, torch, and every package whose components the spec names."""
    versions = {b.component.dist: b.component.version for b in spec.components.values()}
    return {**dict(sorted(versions.items())), "torch": str(torch.__version__)}


def save_checkpoint(data: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that `path` is always whole: the old one, or the new one.

    Raises CheckpointError, leaving the old file as it was, when it cannot be written.
    """
    with atomic_write(path) as temporary:
        try:
            torch.save(data, temporary)
        except RuntimeError as error:  # torch's own writer does not pass on the OSError
            raise OSError(None, _disk_reason(path, error)) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Any:
    """Give a temporary path to write to, which replaces `path` once it is whole and on the disk.

    Raises CheckpointError when the disk does not take it; `path` is untouched then.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner may read
        temporary.replace(path)
    except OSError as error:
        kept = f" -- the previous {path.name} is untouched" if path.exists() else ""
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}{kept}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _disk_reason(path: Path, error: RuntimeError) -> str:
    """Say why torch could not write: a full disk in words, else torch's own first line."""
    stat = os.statvfs(path.parent) if hasattr(os, "statvfs") else None
    if stat is not None and stat.f_bavail * stat.f_frsize < 1 << 20:
        return "no space left on the disk"
    return str(error).splitlines()[0]
