"""Specs: one TOML file in, one checked and completed model description out. Knows nothing of torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from clscli.spec.binding import Bound
from clscli.spec.check import ResolvedSpec, check_structure, resolve
from clscli.spec.draft import Draft, Origin
from clscli.spec.read import read_draft, read_training_draft, spec_name
from clscli.spec.render import render_spec

__all__ = [
    "Bound",
    "Draft",
    "Origin",
    "ResolvedSpec",
    "check_structure",
    "load_spec",
    "read_draft",
    "read_training_draft",
    "render_spec",
    "resolve",
    "spec_name",
]


def load_spec(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    sets: Iterable[str] = (),
    unsets: Iterable[str] = (),
) -> ResolvedSpec:
    """Read, merge, check and complete a spec; `source` is a file, the name of a preset, or a dict.

    Raises UsageError when there is no such spec, SpecError with all problems of a phase at once, PluginError
    when a named component cannot be used.
    """
    draft = read_draft(source, sets=sets, unsets=unsets)
    return resolve(draft, check_structure(draft))
