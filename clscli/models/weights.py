"""Pretrained weights for a backbone: where they come from, how they fit, and what was loaded.

Handled outside the components, so that every backbone, a third party's too, can be given a file or a URL.
"""

from __future__ import annotations

import pickle
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from clscli.errors import CheckpointError
from clscli.plugins import near_names
from clscli.reports.text import list_some
from clscli.spec import Bound, ResolvedSpec

# Where files of weights keep the tensors, and what trainers put before the names.
_CONTAINERS = ("state_dict", "model", "weights", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")


class Match(NamedTuple):
    """How a file of weights fits a backbone."""

    fitting: dict[str, Tensor]
    missing: list[str]  # of the backbone, not in the file
    misshapen: list[str]  # in both, with different shapes
    unused: list[str]  # in the file only


def load_pretrained(spec: ResolvedSpec, backbone: nn.Module) -> list[str]:
    """Load the weights that the spec's backbone asks for, and return lines that say what was loaded.

    `pretrained` is true (the published weights), the name of published weights, a path or a URL. Raises
    SpecError for a name that does not exist, CheckpointError when the weights cannot be had or do not fit.
    """
    bound, source = spec.one("model", "backbone"), find_pretrained(spec)
    if not source:
        return []
    tensors = _read(source)
    adapt = getattr(backbone, "adapt_weights", None)  # a backbone may know older names, or another grid
    match = match_weights(adapt(tensors) if adapt is not None else tensors, backbone)
    total = len(backbone.state_dict())
    if len(match.fitting) < total / 2:
        example = list_some(match.unused, 3) or "nothing"
        raise CheckpointError(
            f"{source}: only {len(match.fitting)} of the {total} tensors of {bound.label} are in it, "
            f"with the right shape (it has {example}) -- these are weights of another model"
        )
    backbone.load_state_dict(match.fitting, strict=False)
    left = {"of another shape": match.misshapen, "not in the file": match.missing}
    return [
        f"{bound.label}: loaded {len(match.fitting)} of {total} tensors from {source}",
        *(
            f"{bound.label}: left as initialised, {why}: {list_some(names)}"
            for why, names in left.items()
            if names
        ),
        *([f"{bound.label}: not used: {list_some(match.unused)}"] if match.unused else []),
    ]


def find_pretrained(spec: ResolvedSpec) -> str:
    """Turn `pretrained` into the path of a file or a URL; empty when the spec asks for no weights.

    Raises SpecError for a file or a name that does not exist. Nothing is downloaded.
    """
    bound = spec.one("model", "backbone")
    wanted = bound.builder.get("pretrained", False)
    if wanted is False:
        return ""
    path = (*bound.path, "pretrained")
    if isinstance(wanted, str) and "://" in wanted:
        return wanted
    if isinstance(wanted, str) and Path(wanted).is_absolute():  # the spec has made every path absolute
        if not Path(wanted).is_file():
            raise spec.error(path, f"{wanted}: no such file")
        return wanted
    published = _published(bound)
    if wanted is True and published:
        return published["DEFAULT"]
    if isinstance(wanted, str) and wanted in published:
        return published[wanted]
    near = near_names(str(wanted), published) if isinstance(wanted, str) else ""
    hint = f"did you mean {near}?" if near else f"there are: {', '.join(published)}"
    if not published:
        hint = "give a file or a URL of weights"
    named = "no published weights" if wanted is True else f"no published weights {wanted!r}"
    raise spec.error(path, f"{bound.label} has {named} -- {hint}")


def _published(bound: Bound) -> dict[str, str]:
    """Name torchvision's weights for one of our own backbones: name -> URL."""
    if not bound.component.is_core:
        return {}
    from torchvision import models  # only now: it takes as long to import as torch

    if bound.component.name not in models.list_models(models):
        return {}
    weights = models.get_model_weights(bound.component.name)
    return {**{w.name: w.url for w in weights}, "DEFAULT": weights.DEFAULT.url}


def _read(source: str) -> Mapping[str, Tensor]:
    try:
        if "://" in source:
            data: Any = torch.hub.load_state_dict_from_url(
                source, map_location="cpu", check_hash=True, weights_only=True
            )
        else:
            data = torch.load(source, map_location="cpu", weights_only=True)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(source).path).name
        reason = getattr(error, "reason", error)
        raise CheckpointError(
            f"{source}: cannot be downloaded: {reason} -- without a network, put the file at {file}"
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{source}: holds more than tensors, and is not loaded for safety") from error
    except (RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{source}: cannot be read as weights: {str(error).splitlines()[0]}") from error
    return tensors_of(data, source)


def tensors_of(data: Any, source: str) -> Mapping[str, Tensor]:
    """Find the named tensors in what a file of weights holds."""
    for key in _CONTAINERS:
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
    found = {k: v for k, v in data.items() if isinstance(v, Tensor)} if isinstance(data, Mapping) else {}
    if not found:
        raise CheckpointError(f"{source}: holds no named tensors")
    return found


def match_weights(tensors: Mapping[str, Tensor], backbone: nn.Module) -> Match:
    """Compare a file's tensors with a backbone's, under the prefix that fits most of them."""
    own = backbone.state_dict()
    candidates = [dict(tensors)]
    for prefix in _PREFIXES:
        for names in list(candidates):
            if any(name.startswith(prefix) for name in names):
                candidates.append({n.removeprefix(prefix): t for n, t in names.items()})
    best = max(candidates, key=lambda names: len(names.keys() & own.keys()))
    fitting = {n: t for n, t in best.items() if n in own and own[n].shape == t.shape}
    return Match(
        fitting,
        missing=[n for n in own if n not in best],
        misshapen=[n for n in best if n in own and n not in fitting],
        unused=[n for n in best if n not in own],
    )
