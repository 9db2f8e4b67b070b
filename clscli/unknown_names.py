"""What a user may have meant by a name that no package offers; from packaging metadata, without any import."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.utils import canonicalize_name

from clscli.plugins import Component, find_components, find_hidden, near_names

# A kind with fewer names than this shows them all when a name is unknown.
FEW_NAMES = 12


def suggest(kind: str, name: str, components: Sequence[Component]) -> str:
    """Say what a bare name may have meant, as ` -- did you mean ...?`; it may be one of `components`."""
    known = _elsewhere(kind, name, components)
    return f" -- {known}" if known else _nearest(kind, name, components)


def suggest_of_package(kind: str, dist: str, name: str, components: Sequence[Component]) -> str:
    """Say what `dist:name` may have meant, where the package is there and has no such component."""
    if others := [c.qualified for c in components if c.offers(name)]:
        return f" -- did you mean {_choices(others)}? (see: clscli list {kind})"
    return _nearest(kind, name, [c for c in components if c.dist == dist])


def suggest_package(dist: str, name: str, components: Sequence[Component]) -> str:
    """Say what `dist:name` may have meant, where no such package is installed: none is to be by mistake."""
    # `clscli-timm` is a name like `clscli`, and no mistyped one: it says what the package is for.
    near_dists = {c.dist for c in components if near_names(dist, [c.dist]) and not dist.startswith(f"{c.dist}-")}
    of_near = [c.qualified for c in components if c.dist in near_dists]
    near = near_names(f"{dist}:{name}", of_near)
    return f" -- did you mean {near}? Else: pip install {dist}" if near else f" -- pip install {dist}"


def _nearest(kind: str, name: str, components: Sequence[Component]) -> str:
    see = f"(see: clscli list {kind})"
    names = sorted({c.name for c in components})
    family, slash, _ = name.partition("/")
    if slash:
        near = near_names(f"{family}/*", [n for n in names if n.endswith("/*")])
        return f": no installed package offers {kind} of the name {family}/*" + (
            f" -- did you mean {near}? {see}" if near else f" {see}"
        )
    if near := near_names(name, names):
        return f" -- did you mean {near}? {see}"
    if names and len(names) < FEW_NAMES:
        return f" -- there are: {', '.join(names)} {see}"
    return f" {see}"


def _elsewhere(kind: str, name: str, components: Sequence[Component]) -> str:
    """Say where a name is known: with its package before it, of another kind, or of a package that is hidden."""
    if meant := [c.qualified for c in components if _joined(c.qualified) == _joined(name)]:
        return f"did you mean {_choices(meant)}? (see: clscli list {kind})"
    if any(c.dist == _joined(name) for c in components):
        return f"this is a package (see: clscli list {kind} '{_joined(name)}:*')"
    if hidden := next((c for c in find_hidden(kind) if c.has_valid_name and c.offers(name)), None):
        return f"the package '{hidden.dist}' offers it, but is not among CLSCLI_PLUGINS"
    if other := next((c.kind for c in find_components() if c.has_valid_name and c.name == name), None):
        return f"it is among the {other} (see: clscli list {other})"
    return ""


def _joined(name: str) -> str:
    """Write `fastnets:tinyvit` as `fastnets-tinyvit`, and so what a user may write who does not know the colon."""
    return canonicalize_name(re.sub("[:/]", "-", name))


def _choices(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names[:3])
