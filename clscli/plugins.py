"""Components: found by packaging entry points, listed from metadata, imported only when used.

Reading order: `KINDS` (the table of groups), `find_components` (metadata only), `resolve` (a name a user
wrote to one component), `load` (the import). Built-in components take the same way as everybody's. An entry
point may also offer many names at once: see `families.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import importlib_metadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, is_normalized_name

from clscli.errors import MissingPackageError, PluginError, UnknownComponentError, describe


class Kind(NamedTuple):
    """What clscli calls one component of a group, and the parameters that it sets itself."""

    singular: str
    injected: tuple[str, ...] = ()
    refused: Mapping[str, str] = MappingProxyType({})  # names known from elsewhere, and why they are not offered
    # The type, as "module:name", by which a parameter of any component asks for components of this kind.
    contract: str | None = None


# The one table: a new group is a new line. The entry-point group is "clscli.<key>".
KINDS: dict[str, Kind] = {
    "backbones": Kind("backbone", ("in_channels",)),
    "necks": Kind("neck", ("in_channels",)),
    "heads": Kind("head", ("in_channels", "num_classes")),
    "losses": Kind("loss", ("num_classes", "class_counts", "num_samples", "load_teacher")),
    "transforms": Kind("transform", ("split",), contract="clscli.data.transforms.contract:Transform"),
    "batch_transforms": Kind("batch transform", ("num_classes",)),
    "datasets": Kind("dataset", ("split",), contract="clscli.data.samples:Dataset"),
    "samplers": Kind("sampler", ("targets", "num_classes")),
    "optimizers": Kind(
        "optimizer",
        ("params", "hidden_weights"),
        {
            "lbfgs": "it computes the loss several times a step, and always of all pictures -- take adamw or sgd",
            "sparse_adam": "it is for sparse gradients, which no image classifier has -- take adam",
        },
    ),
    "schedulers": Kind("scheduler", ("num_steps", "steps_per_epoch", "train_monitor")),
    "hooks": Kind("hook"),
}

CORE = "clscli"
_GROUPS = f"{CORE}."  # what the names of all groups begin with
NAME = re.compile(r"[a-z][a-z0-9_]*")
_FAMILY = re.compile(rf"{NAME.pattern}/\*")  # `timm/*`: many names by one entry point
NAME_RULE = "a name has only a-z, 0-9 and _, and begins with a letter"
# Of the likenesses that difflib computes, from 0 to 1: what is close to the best, and what is a mere slip.
_NEARLY, _TYPO = 0.05, 0.85


@dataclass(frozen=True)
class Component:
    """One entry point, or one member of a family, as packaging metadata states it; nothing has been imported."""

    kind: str
    name: str
    dist: str
    version: str
    value: str
    requires_core: str | None  # the package's own requirement on clscli, such as "clscli>=0.1"
    is_member: bool = False  # of a family, whose entry point this is

    @property
    def qualified(self) -> str:
        """The form that always names this component: `dist:name`."""
        return f"{self.dist}:{self.name}"

    @property
    def is_core(self) -> bool:
        """Whether clscli itself ships this component."""
        return self.dist == CORE

    @property
    def is_family(self) -> bool:
        """Whether it stands for all names that begin alike, and is no component itself."""
        return self.name.endswith("/*")

    @property
    def has_valid_name(self) -> bool:
        """Whether a spec could name it."""
        return bool(self.is_member or NAME.fullmatch(self.name) or _FAMILY.fullmatch(self.name))

    def offers(self, name: str) -> bool:
        """Tell whether a bare name is this component's, or may be one of this family's."""
        return name.startswith(self.name[:-1]) if self.is_family else name == self.name

    @property
    def spec_name(self) -> str:
        """What a resolved spec writes: the bare name of a built-in, else the qualified one."""
        return self.name if self.is_core else self.qualified

    def __str__(self) -> str:
        return f"{self.dist} {self.version} ({KINDS[self.kind].singular} '{self.name}')"


def find_components(kind: str | None = None) -> list[Component]:
    """List what is installed, of one kind or of all, sorted by kind, name and package."""
    return [c for c in _scan(os.environ.get("CLSCLI_PLUGINS")) if c.kind in ((kind,) if kind else KINDS)]


def find_strays() -> list[Component]:
    """List entry points of groups such as "clscli.backbone", which are of no kind: their author meant another."""
    return [c for c in _scan(os.environ.get("CLSCLI_PLUGINS")) if c.kind not in KINDS]


def namesakes(component: Component) -> list[Component]:
    """List what its bare name may mean: the component and those of other packages; of a member, the families."""
    name = f"{component.name.partition('/')[0]}/*" if component.is_member else component.name
    return _by_name(os.environ.get("CLSCLI_PLUGINS"))[component.kind, name]


@cache
def _by_name(allowed: str | None) -> dict[tuple[str, str], list[Component]]:
    found: dict[tuple[str, str], list[Component]] = {}
    for component in _scan(allowed):
        found.setdefault((component.kind, component.name), []).append(component)
    return found


def find_hidden(kind: str | None = None) -> list[Component]:
    """List what is installed, but not among CLSCLI_PLUGINS."""
    seen = set(find_components())
    return [c for c in _scan(None) if c.kind in ((kind,) if kind else KINDS) and c not in seen]


@cache
def _scan(allowed: str | None) -> tuple[Component, ...]:
    """Read every group once; `allowed` is CLSCLI_PLUGINS, the third parties to see (None: all of them)."""
    names = None if allowed is None else {canonicalize_name(n.strip()) for n in allowed.split(",")}
    found: dict[str, list[Component]] = {}
    for installed in importlib_metadata.Distribution.discover():
        try:
            components = _components_of(installed)
        except Exception:  # half an uninstalled package, of whom we know not even the name: not our affair
            continue
        # On a doubled sys.path, and after editable installs, a package is found twice: the first is imported.
        if components and components[0].dist not in found:
            found[components[0].dist] = components
    seen = (c for dist, cs in found.items() if names is None or dist in names or dist == CORE for c in cs)
    return tuple(sorted(seen, key=lambda c: (c.kind, c.name, not c.is_core, c.dist, c.value)))


def _components_of(installed: importlib_metadata.Distribution) -> list[Component]:
    ours = [e for e in installed.entry_points if e.group.startswith(_GROUPS)]
    entries = {(e.group.removeprefix(_GROUPS), e.name, e.value) for e in ours}
    if not entries:
        return []  # most packages: reading their METADATA as well would be slow
    metadata = installed.metadata
    dist, version = canonicalize_name(metadata["Name"]), metadata["Version"]
    requires = next((r for r in metadata.get_all("Requires-Dist") or [] if _is_about_core(r)), None)
    return [Component(kind, name, dist, version, value, requires) for kind, name, value in entries]


def _is_about_core(text: str) -> bool:
    """Tell whether a `Requires-Dist` line is about clscli, on this Python and without extras."""
    match = re.match(r"\s*([A-Za-z0-9._-]+)", text)
    if match is None or canonicalize_name(match.group(1)) != CORE:
        return False
    if ";" not in text:
        return True  # the usual case: parsing takes as long as all the rest
    try:
        marker = Requirement(text).marker
    except InvalidRequirement:
        return True  # `incompatibility` says so
    return marker is None or marker.evaluate({"extra": ""})


def resolve(kind: str, name: str) -> Component:
    """Find the component that a user means by `name`, bare or as `dist:name`.

    A bare name that clscli ships is always clscli's. Raises UnknownComponentError with near names, or with
    the qualified names to choose from when two other packages offer the same one; PluginError when the family
    that a name is of cannot be asked.
    """
    components = [c for c in find_components(kind) if c.has_valid_name]
    if ":" in name:
        return _resolve_qualified(kind, name, components)
    matches = [c for c in components if c.offers(name)]
    if matches and (matches[0].is_core or len(matches) == 1):
        return _settle(matches[0], name)
    word = KINDS[kind].singular
    if matches:
        choices = " or ".join(f"'{c.dist}:{name}'" for c in matches)
        raise UnknownComponentError(f"{word} '{name}' is offered by {len(matches)} packages -- write {choices}")
    if name in KINDS[kind].refused:
        raise UnknownComponentError(f"there is no {word} '{name}': {KINDS[kind].refused[name]}")
    from clscli.unknown_names import suggest  # here: it stands on this module, and few names are unknown

    raise UnknownComponentError(f"unknown {word} '{name}'{suggest(kind, name, components)}")


def _settle(found: Component, name: str) -> Component:
    """Return the component that was found for a bare name; of a family, its member."""
    if not found.is_family:
        return found
    from clscli.families import find_member  # it stands on this module, and few names are of families

    return find_member(found, name)


def _resolve_qualified(kind: str, name: str, components: list[Component]) -> Component:
    from clscli.unknown_names import suggest_of_package, suggest_package

    dist, _, short = name.partition(":")
    dist = canonicalize_name(dist)
    word = KINDS[kind].singular
    if not (short and is_normalized_name(dist)):
        raise UnknownComponentError(
            f"unknown {word} '{name}': with a colon, a name is package:name (see: clscli list {kind})"
        )
    of_dist = [c for c in components if c.dist == dist]
    for component in of_dist:
        if component.offers(short):
            return _settle(component, short)
    if of_dist:
        hint = suggest_of_package(kind, dist, short, components)
        raise UnknownComponentError(f"package '{dist}' has no {word} '{short}'{hint}")
    try:
        version = importlib_metadata.version(dist)
    except importlib_metadata.PackageNotFoundError:
        hint = suggest_package(dist, short, components)
        raise MissingPackageError(
            f"{word} '{name}' needs the package '{dist}', which is not installed{hint}", dist
        ) from None
    is_hidden = any(c.dist == dist for c in find_hidden())
    reason = "is not among CLSCLI_PLUGINS" if is_hidden else f"offers no {kind}"
    raise UnknownComponentError(f"unknown {word} '{name}': the package '{dist}' {version} {reason}")


def near_names(name: str, names: Iterable[str]) -> str:
    """Join the names closest to a mistyped one as `'a' or 'b'`; empty when nothing comes near."""
    name, known = name.lower(), {n.lower(): n for n in names}
    likeness = {n: SequenceMatcher(None, n, name).ratio() for n in get_close_matches(name, known, n=3)}
    best = max(likeness.values(), default=0.0)
    # Among hundreds of names some are always close: only those nearly as close as the best are meant.
    near = [n for n, ratio in likeness.items() if ratio > best - _NEARLY]
    if best < _TYPO and name:
        near += sorted((n for n in known if name in n and n not in near), key=lambda n: not n.startswith(name))
    return " or ".join(f"'{known[n]}'" for n in near[:3])


def incompatibility(component: Component) -> str | None:
    """Say in words why the component's package does not fit this clscli, or None if it does."""
    if component.requires_core is None:
        return None
    installed = importlib_metadata.version(CORE)
    try:
        requirement = Requirement(component.requires_core)
    except InvalidRequirement:
        return f"{component.dist} {component.version} has an unreadable requirement {component.requires_core!r}"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    wanted = f"{CORE}{requirement.specifier}"
    return f"{component.dist} {component.version} needs {wanted}, but {installed} is installed"


def load(component: Component) -> Callable[..., Any]:
    """Import a component and return its callable; of a family, the family.

    Raises PluginError, naming package, version and cause, when the package does not fit this clscli, cannot
    be imported, or the entry point names something that cannot be called.
    """
    reason = incompatibility(component)
    if reason is not None:
        raise PluginError(f"{reason} -- pip install --upgrade {component.dist} {CORE}")
    entry = importlib_metadata.EntryPoint(component.name, component.value, f"{CORE}.{component.kind}")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results; what a plugin prints is none
            target = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as cause:  # the plugin boundary: a panic of compiled code, for one, is no Exception
        raise PluginError(
            f"{component} cannot be imported: {describe(cause)} "
            f"-- reinstall {component.dist}, or see what works with: clscli list --check"
        ) from cause
    if not callable(target):
        raise PluginError(f"{component} is not callable: {component.value} is of type {type(target).__name__}")
    if component.is_member:
        from clscli.families import make_member

        return make_member(component, target)
    return target  # type: ignore[no-any-return]  # any callable is a component


def clear_cache() -> None:
    """Forget what was found, after installing or removing packages in this process."""
    _scan.cache_clear()
    _by_name.cache_clear()
