"""What the builder understands in a component's table besides the component's own parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from clscli.faults import Fault
from clscli.plugins import near_names
from clscli.signature import Parameter, check, complete, read_parameters
from clscli.spec.groups import Groups
from clscli.toml import format_value


class BuilderKey(NamedTuple):
    """One key: how a listing shows it, and what checks and completes its value."""

    type: str
    default: str
    meaning: str
    check: Callable[[Any], tuple[Any, list[Fault]]]


def check_pretrained(value: Any) -> tuple[Any, list[Fault]]:
    """Check that weights are asked for by true, false, a name, a path or a URL; which exist is found later."""
    if isinstance(value, bool | str):
        return value, []
    return value, [Fault((), f"must be true, false or a string, got {format_value(value)}")]


def check_init(value: Any) -> tuple[Any, list[Fault]]:
    """Check one initialisation, or a list of them; return it with all its defaults."""
    if isinstance(value, dict):
        return _check_initialization(value)
    if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
        example = '{ type = "kaiming" }'
        return value, [
            Fault((), f"must be a table or a list of tables such as {example}, got {format_value(value)}")
        ]
    checked, found = [], []
    for index, table in enumerate(value):
        whole, faults = _check_initialization(table)
        checked.append(whole)
        found += [Fault((index, *fault.path), fault.message) for fault in faults]
    return checked, found


def _check_initialization(table: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    # Only here: it imports torch, as the components do whose parameters are checked together with this.
    from clscli.models.initialization import INITIALIZATIONS

    name = table.get("type")
    if "type" not in table:
        return table, [Fault(("type",), f"is required -- there are: {', '.join(INITIALIZATIONS)}")]
    if not isinstance(name, str):
        return table, [Fault(("type",), f"must be a string, got {format_value(name)}")]
    if name not in INITIALIZATIONS:
        near = near_names(name, INITIALIZATIONS)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(INITIALIZATIONS)}"
        return table, [Fault(("type",), f"unknown initialisation '{name}' -- {hint}")]
    parameters = read_parameters(INITIALIZATIONS[name], injected=())
    given = {key: value for key, value in table.items() if key != "type"}
    kwargs, faults = check(parameters, given, f"initialisation '{name}' has no parameter")
    return (table, faults) if faults else ({"type": name, **complete(parameters, kwargs)}, [])


def check_groups(value: Any) -> tuple[Any, list[Fault]]:
    """Check the table of an optimizer's parameter groups; return it with all its defaults."""
    if not isinstance(value, dict):
        example = "{ head_lr = 10.0, layer_decay = 0.75 }"
        return value, [Fault((), f"must be a table such as {example}, got {format_value(value)}")]
    parameters = read_parameters(Groups, injected=())
    kwargs, faults = check(parameters, value, "unknown key")
    return (value, faults) if faults else (complete(parameters, kwargs), [])


_PRETRAINED = BuilderKey("bool | str", "false", "true, a name of weights, a path or a URL", check_pretrained)
_INIT = BuilderKey(
    "table | list",
    "none",
    "how weights are drawn: type constant, kaiming, normal, trunc_normal, uniform or xavier",
    check_init,
)

_GROUPS = BuilderKey(
    "table",
    "none",
    f"factors of rate and weight decay: {', '.join(field.name for field in dataclasses.fields(Groups))}",
    check_groups,
)

_KEYS: dict[str, Mapping[str, BuilderKey]] = {
    "backbones": {"pretrained": _PRETRAINED, "init": _INIT},
    "necks": {"init": _INIT},
    "heads": {"init": _INIT},
    "optimizers": {"groups": _GROUPS},
}


def builder_keys(kind: str, parameters: Sequence[Parameter]) -> Mapping[str, BuilderKey]:
    """Return the keys of a kind, without those that a component has as parameters of its own."""
    own = {parameter.name for parameter in parameters}
    return {name: key for name, key in _KEYS.get(kind, {}).items() if name not in own}
