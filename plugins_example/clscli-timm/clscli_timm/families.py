"""The families `timm/*`: what clscli asks for names, and for the component of a name.

This module imports neither timm nor torch. Names are kept in a file of clscli's cache for each version of timm:
to import timm takes seconds, and clscli asks for names whenever a spec uses one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import importlib_metadata

from clscli.cache import cache_directory
from clscli.errors import WriteError
from clscli.files import atomic_write


class Backbones:
    """Every model of timm, with and without the tag of its weights, such as `convnext_nano.in12k_ft_in1k`."""

    def names(self) -> list[str]:
        """List the models; imports timm once for each version of it."""
        return _names()["models"]

    def __call__(self, name: str) -> Callable[..., Any]:
        """Return the backbone of a name."""
        from clscli_timm.backbone import NamedBackbone

        return NamedBackbone(name)


class Optimizers:
    """The optimizers of timm that need nothing else to be installed."""

    def names(self) -> list[str]:
        """List the optimizers; imports timm once for each version of it."""
        return _names()["optimizers"]

    def __call__(self, name: str) -> Callable[..., Any]:
        """Return the optimizer of a name."""
        from clscli_timm.optimizers import NamedOptimizer

        return NamedOptimizer(name)


backbones, optimizers = Backbones(), Optimizers()


@cache
def _names() -> dict[str, list[str]]:
    file = cache_directory() / "clscli-timm" / f"timm-{importlib_metadata.version('timm')}.json"
    found = _read(file)
    if found is None:
        found = _ask_timm()
        _write(file, found)
    return found


def _read(file: Path) -> dict[str, list[str]] | None:
    """Read the names from the cache; None when they are not there, or not whole."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
        return {"models": list(names["models"]), "optimizers": list(names["optimizers"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, names: dict[str, list[str]]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as path:
            path.write_text(json.dumps(names), encoding="utf-8")
    except (OSError, WriteError):
        pass  # a cache that cannot be written is asked for again next time


def _ask_timm() -> dict[str, list[str]]:
    from timm.models import list_models

    from clscli_timm.optimizers import usable_optimizers

    models = {*list_models(), *list_models(include_tags=True)}
    return {"models": sorted(models), "optimizers": usable_optimizers()}
