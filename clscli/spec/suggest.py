"""A first spec for given pictures, as `clscli init` writes it: every value with its reason in a comment."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from clscli.spec.starting_point import FROM_NOTHING, PublishedFile, StartingPoint
from clscli.toml import Path, dotted, format_key, format_value

_COLUMNS = 110


class Setting(NamedTuple):
    """A value, where it stands in a spec, and why it is that."""

    path: Path
    value: Any
    why: str


def render_suggestion(start: StartingPoint, root: str, title: Sequence[str]) -> str:
    """Write a spec for the pictures in `root`; `title` are the lines it begins with."""
    lines = [*title]
    table: Path = ()
    for setting in [*_data(start, root), *_transforms(start), *_model(start), *_optimizer(start), *_train(start)]:
        if setting.path[:-1] != table:
            table = setting.path[:-1]
            lines += ["", f"[{dotted(table)}]"]
        lines += comment(setting.why)
        lines.append(f"{format_key(str(setting.path[-1]))} = {_format(setting.value)}")
    return "\n".join(lines) + "\n"


def comment(text: str) -> list[str]:
    """Break a text into lines of comment; URLs and paths stay whole."""
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _format(value: Any) -> str:
    """Write a value, and each table of a list on a line of its own."""
    if isinstance(value, list) and any(isinstance(element, dict) for element in value):
        return "\n".join(["[", *(f"    {format_value(element)}," for element in value), "]"])
    return format_value(value)


def _data(start: StartingPoint, root: str) -> Iterator[Setting]:
    pictures = start.pictures
    yield Setting(("data", "root"), root, "Relative to this file.")
    if pictures.num_val is None:
        num_val = pictures.total - pictures.num_train
        why = "Without a folder val, this share of every class is set aside, always the same pictures."
        yield Setting(("data", "val_fraction"), pictures.val_fraction, f"{why} {_precision(num_val)}")
    steps = math.ceil(pictures.num_train / start.batch_size)
    why = f"{steps} steps an epoch: " + (
        "larger batches would leave too few."
        if start.batch_size < 32
        else 'larger batches may be faster on a large GPU, and "auto" takes as many as fit.'
    )
    yield Setting(("data", "batch_size"), start.batch_size, why)
    if pictures.are_imbalanced:
        least, most = pictures.extremes
        why = (
            f"The smallest class has {least} pictures, the largest {most}: rare classes are drawn more often, "
            "by the square root of their numbers (Mahajan et al., 2018). With power = 1.0 all would come equally "
            "often, and the few pictures of rare ones too often."
        )
        yield Setting(("data", "sampler"), {"type": "class_weighted", "power": 0.5}, why)
    if pictures.num_unreadable:
        why = (
            f"Pictures that cannot be read, as {pictures.num_unreadable} here, would stop the run. Without them, "
            'take "error", the default.'
        )
        yield Setting(("data", "on_bad_image"), "skip", why)


def _precision(num_val: int) -> str:
    points = 98 / math.sqrt(max(1, num_val))  # 1.96 standard deviations of a share of one half
    return f"With {num_val} of them, top-1 is known to within {points:.2g} points."


def _transforms(start: StartingPoint) -> Iterator[Setting]:
    pictures = start.pictures
    flip: list[dict[str, Any]] = [] if pictures.have_sides else [{"type": "random_horizontal_flip"}]
    no_flip = " Not mirrored: by their names, some classes would turn into others." if pictures.have_sides else ""
    path = ("transforms", "train")
    crop: dict[str, Any]
    if start.size_as_it_is is not None:
        height, width = start.size_as_it_is
        size = height if height == width else [height, width]
        crop = {"type": "random_crop", "size": size, "padding": max(1, min(height, width) // 8)}
        yield Setting(path, [crop, *flip], f"Moved by an eighth, as in He et al., 2015, section 4.2.{no_flip}")
        why = f"All pictures have {width} x {height} pixels, and are taken as they are."
        yield Setting(("transforms", "eval"), [], why)
    elif start.is_native:
        why = f"The middle one of the pictures has {pictures.sides[1]} pixels on its shorter side.{no_flip}"
        crop = {"type": "random_resized_crop", "size": start.side, "scale": [0.35, 1.0]}
        yield Setting(path, [crop, *flip], why)
        resize = {"type": "resize", "size": start.side, "mode": "crop"}
        yield Setting(("transforms", "eval"), [resize], "The middle of each picture, in the same size.")
    elif pictures.have_sides:
        crop = {"type": "random_resized_crop", "size": 224, "scale": [0.35, 1.0]}
        if start.weights:
            crop |= {"size": start.weights.crop, "interpolation": start.weights.interpolation}
        yield Setting(path, [crop], f"{no_flip.strip()} Nor are they turned, as they are by default.")


def _model(start: StartingPoint) -> Iterator[Setting]:
    at: Path = ("model", "backbone")
    pictures, network = start.pictures, start.network
    yield Setting((*at, "type"), network.name, network.why)
    if start.small_stem:
        why = (
            f"A first layer in which {pictures.sides[1]} pixels stay as many (He et al., 2015, section 4.2); "
            "ImageNet's leaves a quarter of them."
        )
        yield Setting((*at, "stem"), "cifar", why)
        if network.is_halved:
            why = "Half the depth, in half the time, as there is no GPU here. With one: [2, 2, 2, 2]."
            yield Setting((*at, "layers"), [1, 1, 1, 1], why)
    if start.is_native and "image_size" in network.parameters:
        side = start.size_as_it_is[0] if start.size_as_it_is else start.side
        yield Setting((*at, "image_size"), side, "That of the pictures.")
    if start.weights:
        yield Setting((*at, "pretrained"), True, _about_weights(start.weights, start))
    if start.frozen_stages:
        why = (
            f"{pictures.per_class} pictures a class are too few to learn edges and textures from: the first "
            "stages stay as ImageNet made them. 0 trains all."
        )
        yield Setting((*at, "frozen_stages"), start.frozen_stages, why)


def _about_weights(weights: PublishedFile, start: StartingPoint) -> str:
    size = "" if weights.megabytes is None else f"{weights.megabytes:.0f} MB, "
    whose = f"{weights.name} of {weights.source}, {size}licence {weights.licence}: "
    frozen = "frozen_stages, " if start.frozen_stages else ""
    where = (
        "on this machine already."
        if weights.is_here
        else "fetched once, when the training begins. Where it has no network, put "
        f"{weights.url} at {weights.place} yourself. Without weights, delete this line, {frozen}groups and "
        f"freeze_epochs, and set lr = 1e-3 and epochs = {FROM_NOTHING}: with few pictures a much worse start."
    )
    enlarged = (
        " More than half of these pictures are enlarged to it." if start.pictures.sides[1] < weights.crop else ""
    )
    crop = f" They expect pictures of {weights.crop} x {weights.crop}, and get them so.{enlarged}"
    return f"{whose}{where}{crop}"


def _optimizer(start: StartingPoint) -> Iterator[Setting]:
    if start.weights:
        yield Setting(("optimizer", "type"), "adamw", "Trains convolutions and attention alike.")
        why = "A tenth of what a start from nothing takes: the weights are good already."
        yield Setting(("optimizer", "lr"), 1e-4, why)
        why = "The head is new, and learns faster."
        groups = {"head_lr": 10.0}
        if start.layer_decay is not None:
            groups["layer_decay"] = start.layer_decay
            why += (
                " Below it, each layer learns a little more slowly than the one above, as what it knows is more "
                "general (Bao et al., BEiT, 2021)."
            )
        yield Setting(("optimizer", "groups"), groups, why)
    elif start.small_stem:
        yield Setting(("optimizer", "type"), "sgd", "As for ResNets on CIFAR (He et al., 2015, section 4.2).")
        lr = round(0.1 * start.batch_size / 128, 5)
        yield Setting(("optimizer", "lr"), lr, "0.1 for a batch of 128, in proportion (Goyal et al., 2017).")
        yield Setting(("optimizer", "momentum"), 0.9, "As there.")
        why = "As in Zagoruyko and Komodakis, Wide Residual Networks, 2016, with a larger decay than before them."
        yield Setting(("optimizer", "nesterov"), True, why)
        yield Setting(("optimizer", "weight_decay"), 5e-4, "As there.")


def _train(start: StartingPoint) -> Iterator[Setting]:
    num_train = start.pictures.num_train
    if start.weights:
        why = f"{num_train} training pictures, and weights that know much: more epochs change little."
    elif start.is_native:
        why = f"{num_train} training pictures, and nothing known before: twice as many give a little more."
    else:
        why = (
            f"There are no published weights of {start.network.name!r}: to learn from nothing takes time, and "
            "many pictures. Backbones that have weights: clscli list backbones --long"
        )
    yield Setting(("train", "epochs"), start.epochs, why)
    if start.weights:
        why = "First the head alone: while it is random, its steps would spoil the weights (Kumar et al., 2022)."
        yield Setting(("train", "freeze_epochs"), 2, why)
    if start.pictures.are_imbalanced:
        why = "The best epoch is that of the best mean over the classes: top-1 hardly sees the rare ones."
        yield Setting(("train", "monitor"), "balanced_accuracy", why)
