"""What the `type` of a component's table may be, in JSON Schema: every component that is installed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from clscli import families, plugins
from clscli.errors import ClscliError
from clscli.plugins import KINDS, Component
from clscli.signature import (
    REQUIRED,
    Parameter,
    complete,
    describe_type,
    parameter_model,
    read_parameters,
    unwrap,
)
from clscli.spec.builder_keys import builder_keys
from clscli.spec.groups import Groups
from clscli.spec.json_types import Keys, Schema, element_of, first_line, one_or_list_of, properties_of, table_of

# What stands where components do, but is none that a package can add.
INITIALIZATIONS = "initializations"


@dataclass(frozen=True)
class Choice:
    """A component: its key here, what a spec may write for it, the best first, and what its table may hold."""

    key: str
    names: Sequence[str]
    title: str
    description: str
    properties: dict[str, Schema]
    # Of a family: all names of its members, whose parameters are not described, as there may be thousands of them.
    pattern: str | None = None

    @property
    def condition(self) -> Schema:
        """What a `type` fulfils that means this."""
        return {"enum": self.names} if self.pattern is None else {"type": "string", "pattern": self.pattern}


def choice_of(component: Component) -> Choice:
    """Import a component and describe it. Raises PluginError or SignatureError when it cannot be used."""
    function = plugins.load(component)
    title = f"{component.name} ({component.dist} {component.version})"
    about = first_line(unwrap(function).__doc__)
    if component.is_family:
        members = families.members(component)
        is_bare = bool(members) and _is_bare(members[0])
        names = [member.name if is_bare else member.qualified for member in members]
        dist = f"({component.dist}:)?" if is_bare else f"{component.dist}:"
        key = f"{component.qualified.removesuffix('/*')}.family"  # the name itself may be a component, too
        return Choice(key, names, title, about, {}, pattern=f"^{dist}{component.name[:-1]}")
    parameters = read_parameters(function, KINDS[component.kind].injected)
    complete(parameters, given={})  # where the defaults do not fit, no spec can name the component
    properties = _properties(parameters)
    for key in builder_keys(component.kind, parameters):
        properties[key] = _BUILDER_KEYS[key]()
    bare = [component.name] if _is_bare(component) else []
    names = [*bare, component.qualified] if component.is_core else [component.qualified, *bare]
    return Choice(component.spec_name, names, title, about, properties)


def _is_bare(component: Component) -> bool:
    """Tell whether the bare name is enough."""
    try:
        return plugins.resolve(component.kind, component.name) == component
    except ClscliError:  # several packages have this name
        return False


def initializations() -> Iterator[Choice]:
    """Describe what an `init` may be."""
    from clscli.models.initialization import INITIALIZATIONS  # here: it imports torch

    for name, function in INITIALIZATIONS.items():
        properties = _properties(read_parameters(function, injected=()))
        yield Choice(name, [name], name, first_line(function.__doc__), properties)


def _properties(parameters: Sequence[Parameter]) -> dict[str, Schema]:
    """Describe the parameters that a spec may set."""
    own = {p.name: p for p in parameters if not p.injected}
    notes = {name: _notes_on(parameter) for name, parameter in own.items()}

    def table(keys: Keys, in_list: bool) -> Schema:
        kind = str(own[keys[0]].kind)
        return element_of(kind) if in_list else table_of(kind, notes[keys[0]])

    found = properties_of(parameter_model(list(own.values())), table)
    return {name: notes[name] | schema for name, schema in found.items()}


def _notes_on(parameter: Parameter) -> Schema:
    """Tell a parameter's type and default, for people and for editors."""
    return {"description": describe_type(parameter.annotation)} | default_of(parameter.default)


def default_of(value: Any) -> Schema:
    """Tell a default, if there is one that JSON can write."""
    if value is REQUIRED or value is None:
        return {}
    plain = pydantic_core.to_jsonable_python(value)
    try:
        json.dumps(plain, allow_nan=False)
    except ValueError:  # TOML has inf and nan, JSON has not
        return {}
    return {"default": plain}


# What the builder understands in a component's table: see `builder_keys.py`.
_BUILDER_KEYS: dict[str, Callable[[], Schema]] = {
    "pretrained": lambda: {
        "description": "true, or the name of published weights, a file, a folder or a URL",
        "type": ["boolean", "string"],
        "default": False,
    },
    "init": lambda: one_or_list_of(INITIALIZATIONS, {"description": "how weights are drawn"}),
    "groups": lambda: {
        "description": first_line(Groups.__doc__),
        "type": "object",
        "properties": _properties(read_parameters(Groups, injected=())),
        "additionalProperties": False,
    },
}
