"""A component's signature is its schema: read it, describe it, check a TOML table against it.

pydantic is used here and in `spec/schema.py` only. Values are checked in strict JSON mode: there `"18"` and
`18.0` are no integers and `1` is no boolean, but a list may become a tuple and a string a Path.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
import pydantic_core

from clscli.plugins import near_names
from clscli.toml import dotted, format_value

REQUIRED: Any = inspect.Parameter.empty
_SCALARS = (bool, int, float, str, Path)


class SignatureError(Exception):
    """A component's signature cannot be a schema; the message is for its author."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component: who sets it, what it may be, and its default (or REQUIRED)."""

    name: str
    annotation: Any  # resolved, `Annotated[...]` included; the bare source text for injected ones
    default: Any
    injected: bool


@dataclass(frozen=True)
class Fault:
    """What is wrong with one value: where below the component's table, and the message with its hint."""

    path: tuple[str | int, ...]
    message: str


def read_parameters(component: Callable[..., Any], injected: Sequence[str]) -> list[Parameter]:
    """Read a component's parameters, in order; `injected` names those that clscli sets.

    Raises SignatureError when the signature has parameters that no spec could give.
    """
    try:
        signature = inspect.signature(component)
    except (TypeError, ValueError) as cause:
        raise SignatureError(f"its signature cannot be read: {cause}") from None
    found = []
    for name, parameter in signature.parameters.items():
        is_injected = name in injected
        annotation = parameter.annotation
        if not is_injected:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
                raise SignatureError(f"it takes '{stars}{name}', but each parameter must have a name of its own")
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise SignatureError(f"parameter '{name}' is positional-only, but specs give parameters by name")
            if annotation is parameter.empty:
                raise SignatureError(f"parameter '{name}' has no type annotation")
            annotation = _resolve_annotation(component, name, annotation)
            if not _is_expressible(annotation):
                raise SignatureError(
                    f"parameter '{name}' has the type {describe_type(annotation)}, which TOML cannot write "
                    '-- take a name instead, such as Literal["relu", "gelu"]'
                )
        default = _read_default(component, name, parameter.default)
        found.append(Parameter(name, annotation, default, is_injected))
    return found


def _read_default(component: Callable[..., Any], name: str, default: Any) -> Any:
    """Return a parameter's default, called where a dataclass has a `default_factory` instead."""
    if default is REQUIRED or not dataclasses.is_dataclass(component):
        return default
    factory = next((f.default_factory for f in dataclasses.fields(component) if f.name == name), None)
    return factory() if callable(factory) else default


def _resolve_annotation(component: Callable[..., Any], name: str, annotation: Any) -> Any:
    """Evaluate a string annotation, this one alone: others may name what exists only for type checkers."""
    if not isinstance(annotation, str):
        return annotation

    def holder() -> None: ...

    holder.__annotations__ = {name: annotation}
    try:
        return typing.get_type_hints(holder, _namespace(component), include_extras=True)[name]
    except Exception as cause:
        raise SignatureError(
            f"the type '{annotation}' of parameter '{name}' cannot be resolved: {cause}"
        ) from None


def unwrap(component: Callable[..., Any]) -> Callable[..., Any]:
    """Return the class or function that a component calls in the end, where it is a partial of one."""
    while isinstance(component, functools.partial):
        component = component.func
    return component


def _namespace(component: Callable[..., Any]) -> dict[str, Any]:
    """Find the global names that were in sight where the signature was written."""
    component = unwrap(component)
    target: Any = component
    if inspect.isclass(component):
        target = component.__new__ if component.__init__ is object.__init__ else component.__init__
    elif not hasattr(component, "__globals__"):
        target = type(component).__call__
    return getattr(inspect.unwrap(target), "__globals__", {})


def wants_all(component: Callable[..., Any], name: str) -> bool:
    """Tell whether an injected parameter is a tuple by its annotation: of all outputs, not of the last one."""
    parameter = inspect.signature(component).parameters[name]
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return annotation.replace("typing.", "").lower().startswith("tuple[")
    return get_origin(annotation) is tuple


def _is_expressible(annotation: Any) -> bool:
    if annotation in _SCALARS or annotation in (None, type(None), Any):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _is_expressible(arguments[0])
    if origin is Literal:
        return all(isinstance(a, str | int | bool | None) for a in arguments)
    if origin in (Union, types.UnionType, list, tuple, set, frozenset, dict, Sequence):
        return all(_is_expressible(a) for a in arguments if a is not Ellipsis)
    return annotation in (list, tuple, dict)


def describe_type(annotation: Any) -> str:
    """Show a type the way a user reads it: `int`, `"a" | "b"`, `list[int]`, `float, 0 to 1`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None) or annotation is None:
        return "none"
    if origin is typing.Annotated:
        return describe_type(arguments[0]) + _describe_bounds(arguments[1:])
    if origin is Literal:
        return " | ".join(format_value(a) for a in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(describe_type(a) for a in arguments if a is not type(None))
    if origin is not None:
        inner = ", ".join("..." if a is Ellipsis else describe_type(a) for a in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return getattr(annotation, "__name__", str(annotation)).lower()


def _describe_bounds(metadata: Sequence[Any]) -> str:
    """Write the limits of `Field(ge=0, lt=1)`, or of annotated_types' own, as `, >= 0, < 1`."""
    words = []
    for item in metadata:
        for rule in getattr(item, "metadata", None) or [item]:
            for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
                limit = getattr(rule, name, None)
                if limit is not None:
                    words.append(f", {sign} {limit}")
    return "".join(words)


def check(
    parameters: Sequence[Parameter],
    values: dict[str, Any],
    unknown: str = "no parameter",
    also: Sequence[str] = (),
) -> tuple[dict[str, Any], list[Fault]]:
    """Check a TOML table against a component's parameters; return the validated values and all faults.

    Defaults are left to the callable: only what was given is returned. `unknown` opens the message about a
    parameter that does not exist; `also` are keys that somebody else checks, for the hint in it.
    """
    own = [p for p in parameters if not p.injected]
    injected = {p.name for p in parameters if p.injected}
    faults = [Fault((name,), "is set by clscli from the data -- remove it") for name in values if name in injected]
    values = {k: v for k, v in values.items() if k not in injected}
    # Fields get names of our own, with the real ones as aliases: pydantic reserves `copy`, `schema`, ...
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(own):
        default = ... if parameter.default is REQUIRED else parameter.default
        fields[f"field_{index}"] = (
            parameter.annotation,
            pydantic.Field(default=default, alias=parameter.name),
        )
    config = pydantic.ConfigDict(extra="forbid", strict=True)
    model = pydantic.create_model("Parameters", __config__=config, **fields)
    try:
        checked = model.model_validate_json(pydantic_core.to_json(values))
    except pydantic.ValidationError as error:
        return {}, faults + faults_of(error, values, [*(p.name for p in own), *also], unknown)
    given = checked.model_fields_set
    result = {p.name: getattr(checked, f"field_{i}") for i, p in enumerate(own) if f"field_{i}" in given}
    return result, faults


def complete(parameters: Sequence[Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """Write out, in plain TOML types, what was given and the defaults of the rest; None is left out.

    The defaults are checked too: as TOML has it, `lr: float = 1` is 1.0, and a spec must load to itself.
    Raises SignatureError for one that does not fit its own type.
    """
    values = {p.name: p.default for p in parameters if not p.injected and p.default is not REQUIRED} | given
    try:
        plain = {k: pydantic_core.to_jsonable_python(v) for k, v in values.items() if v is not None}
    except ValueError as cause:
        raise SignatureError(f"it has a default that TOML cannot write: {cause}") from None
    checked, faults = check([p for p in parameters if p.name in plain], plain)
    if faults:
        fault = faults[0]
        raise SignatureError(f"the default of parameter '{dotted(fault.path)}' does not fit: {fault.message}")
    return {name: pydantic_core.to_jsonable_python(value) for name, value in checked.items()}


def faults_of(
    error: pydantic.ValidationError, values: Any, known: Sequence[str], unknown: str = "no parameter"
) -> list[Fault]:
    """Put pydantic's errors into our words, one fault a value; `known` are the names for near matches."""
    worded: dict[tuple[str | int, ...], list[str]] = {}
    for item in error.errors(include_url=False):
        path = _path_into(values, item["loc"], names_key=item["type"] in ("missing", "extra_forbidden"))
        worded.setdefault(path, []).append(_word(item, path, known, unknown))
    # pydantic reports each branch of a union: of those, what lies deepest is the branch that was meant.
    deepest = [p for p in worded if not any(q != p and q[: len(p)] == p for q in worded)]
    return [Fault(path, _either(worded[path])) for path in deepest]


def _either(messages: list[str]) -> str:
    """Make one sentence of what the branches of a union expect: `must be 'auto' or an integer, got "x"`."""
    expected = [m.removeprefix("must be ").partition(", got ") for m in dict.fromkeys(messages)]
    if len(expected) == 1 or not all(m.startswith("must be ") for m in messages):
        return messages[0]
    return f"must be {' or '.join(e[0] for e in expected)}, got {expected[0][2].partition(' -- ')[0]}"


def _path_into(values: Any, location: Sequence[str | int], *, names_key: bool) -> tuple[str | int, ...]:
    """Keep the parts of pydantic's location that lead into the values; it adds names of union branches.

    `names_key`: the last part is a key even if the values have no such key.
    """
    path: list[str | int] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(values, dict) and (part in values or (last and names_key)):
            path.append(part)
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            path.append(part)
            values = values[part] if part < len(values) else None
    return tuple(path)


_COMPARISONS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be greater than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
}
_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "none_required": "left out",
}


def _word(item: Any, path: tuple[str | int, ...], known: Sequence[str], unknown: str) -> str:
    """Word one of pydantic's errors."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        near = near_names(str(path[-1]), known)
        if near:
            return f"{unknown} '{path[-1]}' -- did you mean {near}?"
        return f"{unknown} '{path[-1]}' -- there are: {', '.join(known) or 'none'}"
    got = format_value(item["input"])
    if kind in _COMPARISONS:
        key, words = _COMPARISONS[kind]
        return f"{words} {context[key]}, got {got}"
    if kind == "literal_error":
        return f"must be {context['expected']}, got {got}{_near_choice(context['expected'], item['input'])}"
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, got {got}"
    if kind in ("too_short", "too_long"):
        few = kind == "too_short"
        limit = context["min_length" if few else "max_length"]
        return f"must have at {'least' if few else 'most'} {limit} elements, got {got}"
    if kind == "value_error":
        return f"{context['error']}, got {got}"
    return f"{item['msg'][0].lower()}{item['msg'][1:]}, got {got}"


def _near_choice(expected: str, value: Any) -> str:
    choices = [word.strip("' ") for part in expected.split(" or ") for word in part.split(",")]
    near = near_names(value, choices) if isinstance(value, str) else ""
    return f" -- did you mean {near}?" if near else ""
