"""A spec to begin with, written for the pictures of a folder: what `clscli init` does."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, get_args

import torch

from clscli import __version__
from clscli.data.catalog import TrainingData, open_training_data
from clscli.data.layout import find_splits
from clscli.data.readable import only_readable
from clscli.engine.device import choose_device
from clscli.engine.prepare import prepare
from clscli.errors import UsageError
from clscli.models.download import cached_file
from clscli.models.published import Weights, chosen_weights, preprocessing
from clscli.observer import Observer, seen_or_logged
from clscli.reports.text import printable
from clscli.spec import Bound, Origin, ResolvedSpec, check_structure, read_draft, resolve
from clscli.spec.starting_point import Network, Pictures, PublishedFile, StartingPoint, usual_backbone
from clscli.spec.suggest import comment, render_suggestion

ROOT = ("data", "root")
BACKBONE = ("model", "backbone")


def find_start(folder: Path, backbone: str | None, observer: Observer) -> StartingPoint:
    """Look at the pictures of a folder, and decide what to begin with; `backbone` is the user's choice.

    Raises UsageError where runs would be among the pictures, SpecError or DataError when a training could not
    use these, UnknownComponentError or PluginError when it could not use the backbone.
    """
    _refuse_runs_among(folder)
    data = open_training_data(_resolve(folder, {}))
    pictures = describe_pictures(only_readable(data, "skip", seen_or_logged(observer)))
    on_gpu = choose_device("auto").type != "cpu"
    name, why = (backbone, "As asked for.") if backbone else usual_backbone(pictures, on_gpu=on_gpu)
    bound = _resolve(folder, {"model": {"backbone": {"type": name}}}).one(*BACKBONE)
    return StartingPoint(pictures, _describe(bound, why, is_halved=backbone is None and not on_gpu))


def write_text(start: StartingPoint, folder: Path, out: Path, schema: str) -> str:
    """Return the text of a spec for the file `out`, proven by preparing the training that it describes.

    `schema` is the name of the JSON Schema beside that file. Raises SpecError or PluginError when the backbone
    cannot be trained on these pictures.
    """
    about = (
        f"Written by clscli {__version__}. What is not here has its default, or is as the backbone's weights want "
        f"it: all of it is shown by clscli train {out.name} --dry-run"
    )
    title = [
        f"#:schema ./{schema}",
        *comment(f"A start for {printable(start.pictures.describe())}."),
        *comment(about),
    ]
    text = render_suggestion(start, _root_beside(folder, out), title)
    prepare(_resolve(folder, tomllib.loads(text)))
    return text


def _resolve(folder: Path, values: dict[str, Any]) -> ResolvedSpec:
    """Complete a spec for the pictures of a folder; problems with these are told as of `init FOLDER`."""
    draft = read_draft(values)
    draft.put(ROOT, str(folder), {ROOT: Origin(f"init {folder}", folder=Path.cwd())})
    return resolve(draft, check_structure(draft))


def _refuse_runs_among(folder: Path) -> None:
    """Refuse pictures among which the folder `runs` would lie: what is drawn there would become classes."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")
    read = [Path(part) for part in find_splits(folder).values()] or [folder]
    if any(Path.cwd().is_relative_to(part.resolve()) for part in read):
        raise UsageError(
            f"{folder}: is read as one tree of class folders, and runs would be saved in it, and become classes "
            "-- give the folder of the pictures alone: clscli init photos"
        )


def _root_beside(folder: Path, out: Path) -> str:
    """Write a folder relative to that of a file, as a spec reads it."""
    try:
        return Path(os.path.relpath(folder.resolve(), out.resolve().parent)).as_posix()
    except ValueError:  # on another drive of Windows
        return folder.resolve().as_posix()


def describe_pictures(data: TrainingData) -> Pictures:
    """Sum up what the rules ask of readable pictures."""
    is_split_off = data.parts is not None
    views = [data.train, data.val] if is_split_off else [data.train]
    counts = [sum(own) for own in zip(*(view.class_counts for view in views), strict=True)]
    sizes = torch.cat([view.sizes for view in views if view.sizes is not None])
    shorter = sizes.min(dim=1).values
    sides = int(shorter.min()), int(shorter.median()), int(shorter.max())
    is_one = bool((sizes == sizes[0]).all())
    return Pictures(
        class_counts=dict(zip(data.classes, counts, strict=True)),
        num_val=None if is_split_off else len(data.val),
        sides=sides,
        one_size=(int(sizes[0, 0]), int(sizes[0, 1])) if is_one else None,
        num_unreadable=len(data.skipped),
    )


def _describe(bound: Bound, why: str, *, is_halved: bool) -> Network:
    """Sum up what the rules ask of a backbone; its published weights are not fetched."""
    own = {p.name: p for p in bound.parameters if not p.injected}
    stems = get_args(own["stem"].annotation) if "stem" in own else ()
    weights = chosen_weights(bound.component, True, bound.complete_parameters())
    return Network(
        bound.component.spec_name,
        why,
        frozenset(own),
        has_small_stem="cifar" in stems,
        is_halved=is_halved,
        lists_layers=bound.attribute("stem_and_stages") is not None,
        weights=_in_words(weights) if weights else None,
    )


def _in_words(weights: Weights) -> PublishedFile:
    place = cached_file(weights.urls[0], weights.sha256)
    home = Path.home()
    shown = f"~/{place.relative_to(home).as_posix()}" if place.is_relative_to(home) else str(place)
    asked = preprocessing(weights)
    return PublishedFile(
        weights.name,
        weights.source,
        f"{weights.licence}, not for commercial use" if weights.is_non_commercial else weights.licence,
        weights.bytes / 1e6 if weights.bytes else None,
        weights.urls[0],
        shown,
        place.is_file(),
        asked["crop"],
        asked["interpolation"],
    )
