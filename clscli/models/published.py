"""Published weights: what there is for a backbone, where, under which licence, and for which pictures.

Known from three places, without building or downloading anything:

- a file `weights.toml` next to the module that defines the backbone, ours and any other package's alike;
- torchvision, for our backbones of the same names that have no entry in that file;
- the backbone's own attribute `published_weights`, for a package that wraps a library with weights of its own:
  called with the backbone's parameters, it returns a list of `Weights`, the best to start from first.
"""

from __future__ import annotations

import importlib.util
import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
import pydantic_core
from pydantic import Field

from clscli.errors import PluginError, describe
from clscli.faults import faults_of
from clscli.plugins import Component, load
from clscli.signature import unwrap
from clscli.toml import dotted

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

    from clscli.models.download import Progress

DATA_FILE = "weights.toml"
# The mean and the standard deviation of ImageNet's training pictures, which nearly all weights expect.
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Marks of works that must not be used commercially: that of Creative Commons, as in CC-BY-NC-4.0, and the word.
_NON_COMMERCIAL = {"NC", "NONCOMMERCIAL"}

Side = Annotated[int, Field(ge=1)]
Numbers = Annotated[tuple[float, ...], Field(min_length=1)]


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Weights(pydantic.BaseModel):
    """One file of published weights; in `weights.toml`, one table of these keys (and `url` for `urls`)."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # what `pretrained` says
    # One or several places of the same file, tried in turn; a single one may be a bare string.
    urls: Annotated[
        tuple[str, ...], Field(validation_alias="url", min_length=1), pydantic.BeforeValidator(_as_tuple)
    ]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]  # its first 8 digits, or more
    licence: str  # an SPDX identifier, or "unknown"
    source: str  # who published them
    bytes: Annotated[int, Field(ge=1)] | None = None
    top1: Annotated[float, Field(gt=0, lt=1)] | None = None  # on ImageNet-1k's validation pictures
    # The pictures that they expect: the shorter side resized, the middle cut out, normalised.
    input_size: Side = 224
    resize_size: Side = 256
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    squash: bool = False  # both sides are resized to resize_size, whatever their proportions
    mean: Numbers = _IMAGENET["mean"]
    std: Numbers = _IMAGENET["std"]
    # The values of the backbone's parameters that they are for; of those not named, any.
    parameters: dict[str, Any] = {}

    @property
    def is_non_commercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return not _NON_COMMERCIAL.isdisjoint(self.licence.upper().split("-"))

    def fetch(self, progress: Progress | None = None) -> Path:
        """Return the file, downloaded if it is not here yet. Raises CheckpointError when it cannot be had."""
        from clscli.models.download import download  # only now: it imports torch

        return download(self.urls, self.sha256, progress)

    def fits(self, parameters: Mapping[str, Any]) -> bool:
        """Tell whether the weights are for a backbone of these parameters."""
        return all(parameters.get(key) == value for key, value in self.parameters.items())


def published(component: Component, parameters: Mapping[str, Any] | None = None) -> list[Weights]:
    """List the published weights of a backbone, the best to start from first.

    `parameters` are those that the backbone is built with; without them all weights are listed. Raises
    PluginError when the package's `weights.toml` cannot be used.
    """
    found = read_data_file(component).get(component.name)
    if not found:
        found = _of_torchvision(component) if component.is_core else _of_backbone(component, parameters or {})
    return [weights for weights in found if parameters is None or weights.fits(parameters)]


def chosen_weights(component: Component, wanted: bool | str, parameters: Mapping[str, Any]) -> Weights | None:
    """Find what `pretrained = wanted` names, true being the first.

    None for a path or a URL, and when there are no such weights.
    """
    if wanted is False or (isinstance(wanted, str) and ("/" in wanted or "\\" in wanted)):
        return None
    found = published(component, parameters)
    return next((weights for weights in found if wanted in (True, weights.name)), None)


def preprocessing(weights: Weights) -> dict[str, Any]:
    """Return the pictures that weights expect, in the words of a spec's `transforms`."""
    numbers = {"mean": weights.mean, "std": weights.std}
    squash = {"mode": "squash"} if weights.squash else {}
    return {
        "normalize": "imagenet" if numbers == _IMAGENET else {key: list(value) for key, value in numbers.items()},
        "resize": weights.resize_size,
        "crop": weights.input_size,
        "interpolation": weights.interpolation,
        **squash,
    }


def read_data_file(component: Component) -> dict[str, list[Weights]]:
    """Read the `weights.toml` of a component's package: the weights by the name of their backbone."""
    module = component.value.partition(":")[0].strip()
    try:
        return _read(_package_of(module))
    except _DataFileError as error:
        raise PluginError(f"{component.dist} {component.version}: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # finding the file runs the package's own code: as in `plugins.load`
        raise PluginError(f"{component} cannot be imported: {describe(error)}") from error


class _DataFileError(Exception):
    """What is wrong with a data file, in words for its author."""


def _package_of(module: str) -> str:
    """Name the package that holds a module; empty for a module that stands alone."""
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations is not None:
        return module
    return module.rpartition(".")[0]


@cache
def _read(package: str) -> dict[str, list[Weights]]:
    if not package:
        return {}
    file = resources.files(package).joinpath(DATA_FILE)
    if not file.is_file():
        return {}
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        text = pydantic_core.to_json(values)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, pydantic_core.PydanticSerializationError) as error:
        raise _DataFileError(f"{file}: cannot be read: {error}") from None
    try:
        tables = pydantic.TypeAdapter(dict[str, list[Weights]]).validate_json(text)
    except pydantic.ValidationError as error:
        known = [field.validation_alias or name for name, field in Weights.model_fields.items()]
        faults = faults_of(error, values, list(map(str, known)), unknown="no key")
        raise _DataFileError(
            "; ".join(f"{file}: {dotted(fault.path)}: {fault.message}" for fault in faults)
        ) from None
    for name, weights in tables.items():
        names = [w.name for w in weights]
        if len(set(names)) < len(names):
            raise _DataFileError(f"{file}: {name}: two weights have the same name")
    return tables


def _of_backbone(component: Component, parameters: Mapping[str, Any]) -> list[Weights]:
    function: Any = load(component)
    list_weights = getattr(function, "published_weights", None) or getattr(
        unwrap(function), "published_weights", None
    )
    if list_weights is None:
        return []
    try:
        found = list(list_weights(parameters))
    except Exception as error:
        raise PluginError(f"{component} cannot tell its published weights: {describe(error)}") from error
    if wrong := [weights for weights in found if not isinstance(weights, Weights)]:
        raise PluginError(
            f"{component} breaks its contract: its published_weights are clscli.models.published.Weights, "
            f"got {type(wrong[0]).__name__}"
        )
    return found


def _of_torchvision(component: Component) -> list[Weights]:
    from torchvision import models  # only now: it takes as long to import as torch

    if component.name not in models.list_models(models):
        return []
    enum = models.get_model_weights(component.name)
    return [_from_torchvision(w) for w in sorted(enum, key=lambda w: w is not enum.DEFAULT)]


def _from_torchvision(weights: WeightsEnum) -> Weights:
    meta, preset = weights.meta, weights.transforms()
    # Both were trained on pixels from -1 to 1. torchvision turns ImageNet's normalisation, which its transforms
    # have, into that inside of these models (`transform_input`); here it is the transforms' affair alone.
    is_inception = type(weights).__name__ in ("GoogLeNet_Weights", "Inception_V3_Weights")
    top1 = meta["_metrics"].get("ImageNet-1K", {}).get("acc@1", math.nan)
    return Weights(
        name=weights.name,
        urls=(weights.url,),
        sha256=weights.url.rpartition("-")[2].partition(".")[0],
        licence="CC-BY-NC-4.0" if "SWAG" in weights.name else "BSD-3-Clause",
        source="torchvision",
        bytes=round(meta["_file_size"] * 2**20),  # stated in MiB, to three places
        top1=None if math.isnan(top1) else round(top1 / 100, 5),
        input_size=preset.crop_size[0],
        resize_size=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=(0.5,) if is_inception else tuple(preset.mean),
        std=(0.5,) if is_inception else tuple(preset.std),
    )
