"""Families of names: one entry point that offers many components, as a library of a thousand models does.

An entry point whose name ends in `/*` stands for all names that begin alike:

    [project.entry-points."clscli.backbones"]
    "timm/*" = "clscli_timm.families:backbones"

It leads to a callable, the family:

- `family(name)` gives the component of a name, which is without the `timm/`: a callable like any other, with a
  docstring and a signature of its own;
- `family.names()` gives all these names, of a-z, 0-9, `_`, `.` and `-`.

A spec names a member as `type = "timm/resnet18"`, or with its package as `"clscli-timm:timm/resnet18"`, and so
does `clscli list backbones timm/resnet18`. The family is imported, and asked for its names, when a user names a
member or lists some by a pattern such as `'timm/conv*'`, and at no other time. That happens before anything
heavy is imported: a family whose names take long to find keeps them in a file of `cache_directory()`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from clscli.errors import PluginError, UnknownComponentError, describe
from clscli.plugins import KINDS, Component, load, near_names

_MEMBER = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def members(family: Component) -> list[Component]:
    """List the members of a family by name, which imports the family. Raises PluginError when that fails."""
    return [dataclasses.replace(family, name=name, is_member=True) for name in _member_names(family)]


def find_member(family: Component, name: str) -> Component:
    """Return the member of a full name such as `timm/resnet18`.

    Raises UnknownComponentError with near names, PluginError when the family cannot be asked.
    """
    names = _member_names(family)
    word, see = KINDS[family.kind].singular, f"(see: clscli list {family.kind} '{family.name}')"
    if name == family.name:
        raise UnknownComponentError(f"{word} '{name}' stands for many names -- write one of them {see}")
    if name not in names:
        near = near_names(name, names)
        hint = f" -- did you mean {near}?" if near else ""
        raise UnknownComponentError(f"package '{family.dist}' has no {word} '{name}'{hint} {see}")
    return dataclasses.replace(family, name=name, is_member=True)


def make_member(member: Component, family: Callable[..., Any]) -> Callable[..., Any]:
    """Return the callable that a family has for one of its names; what the family raises is a PluginError."""
    try:
        made = family(member.name.partition("/")[2])
    except KeyboardInterrupt:
        raise
    except BaseException as cause:  # the plugin boundary, as in `load`
        raise PluginError(f"{member} cannot be made by its family: {describe(cause)}") from cause
    if not callable(made):
        raise PluginError(f"{member} is not callable: its family made something of type {type(made).__name__}")
    return made  # type: ignore[no-any-return]  # any callable is a component


def check_family(family: Component) -> None:
    """Import a family without asking for its names. Raises PluginError when it breaks its contract."""
    _names_function(family)


def _member_names(family: Component) -> list[str]:
    names = _names_function(family)
    try:
        found = sorted(map(str, names()))
    except KeyboardInterrupt:
        raise
    except BaseException as cause:
        raise PluginError(f"{family} cannot tell its names: {describe(cause)}") from cause
    if bad := next((name for name in found if not _MEMBER.fullmatch(name)), None):
        raise PluginError(
            f"{family} breaks its contract: it offers {bad!r}, but its names have only a-z, 0-9, _, . and -, "
            "and begin with a letter or digit"
        )
    return [family.name[:-1] + name for name in found]


def _names_function(family: Component) -> Callable[[], Any]:
    names = getattr(load(family), "names", None)
    if not callable(names):
        raise PluginError(f"{family} breaks its contract: a family has a function names()")
    return names  # type: ignore[no-any-return]  # what it returns is checked by its callers
