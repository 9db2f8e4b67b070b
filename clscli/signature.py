"""A component's signature is its schema: read it, describe it, check a TOML table against it.

pydantic is used here, in `faults.py` and in `spec/schema.py` only. Values are checked in strict JSON mode: there
`"18"` and `18.0` are no integers and `1` is no boolean, but a list may become a tuple and a string a Path.

A parameter may also ask for other components, by the type in the `contract` of their kind: `Dataset` for one
data set, `list[Dataset]` for several. In a spec these are component tables.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
import pydantic_core

from clscli.errors import describe
from clscli.faults import Fault, faults_of
from clscli.plugins import KINDS
from clscli.toml import dotted, format_value

REQUIRED: Any = inspect.Parameter.empty
_SCALARS = (bool, int, float, str, Path)


class SignatureError(Exception):
    """A component's signature cannot be a schema; the message is for its author."""


class ComponentTable(pydantic.BaseModel):
    """A component by name, and its parameters."""

    model_config = pydantic.ConfigDict(extra="allow", strict=True, frozen=True)

    type: str


# What stands in a spec where a parameter asks for a component; checked, it is a dict again.
_WRITTEN_COMPONENT = Annotated[ComponentTable, pydantic.AfterValidator(ComponentTable.model_dump)]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component: who sets it, what it may be, and its default (or REQUIRED)."""

    name: str
    annotation: Any  # resolved, `Annotated[...]` included; the bare source text for injected ones
    default: Any
    injected: bool

    @property
    def kind(self) -> str | None:
        """The kind of the components that a spec gives it as tables; None if it takes plain values."""
        return None if self.injected else _kind_within(self.annotation)


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
            if name == "type":
                raise SignatureError("it has a parameter 'type', but in a spec that is the component's name")
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
                raise SignatureError(f"it takes '{stars}{name}', but each parameter must have a name of its own")
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise SignatureError(f"parameter '{name}' is positional-only, but specs give parameters by name")
            if annotation is parameter.empty:
                raise SignatureError(f"parameter '{name}' has no type annotation")
            annotation = _resolve_annotation(component, name, annotation)
            _check_components_within(name, annotation, injected)
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


def _check_components_within(name: str, annotation: Any, injected: Sequence[str]) -> None:
    """Refuse a parameter for components that clscli could not build there, or not find in the value."""
    kind = _kind_within(annotation)
    if kind is None:
        return
    what = f"parameter '{name}' asks for {kind}"
    missing = [f"'{n}'" for n in KINDS[kind].injected if n not in injected]
    if missing:
        raise SignatureError(f"{what}, which need {' and '.join(missing)}, and that is not known here")
    if not _is_one_or_list(annotation):
        raise SignatureError(f"{what} as {describe_type(annotation)} -- take one of them, or a list")


def _is_one_or_list(annotation: Any) -> bool:
    """Tell whether the components in a type stand there by themselves or in lists, and nowhere else."""
    if _kind_within(annotation) is None or get_origin(annotation) is None:
        return True
    allowed = (Annotated, Union, types.UnionType, list, tuple, Sequence)
    return get_origin(annotation) in allowed and all(map(_is_one_or_list, get_args(annotation)))


def _kind_within(annotation: Any) -> str | None:
    """Tell which kind of component a type asks for, by itself or somewhere inside it."""
    own = _kind_of(annotation)
    return own or next(filter(None, map(_kind_within, get_args(annotation))), None)


def _kind_of(annotation: Any) -> str | None:
    # By name: to compare the types themselves, they would have to be imported.
    name = f"{getattr(annotation, '__module__', '')}:{getattr(annotation, '__qualname__', '')}"
    return next((key for key, kind in KINDS.items() if kind.contract == name), None)


def _as_written(annotation: Any) -> Any:
    """Return the type of what a spec holds for a parameter: component tables in the place of components."""
    if _kind_within(annotation) is None:
        return annotation
    origin: Any = get_origin(annotation)
    if origin is None:
        return _WRITTEN_COMPONENT
    inner = [_as_written(argument) for argument in get_args(annotation)]
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, inner)
    return origin[tuple(inner)]


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
    if annotation in _SCALARS or annotation in (None, type(None), Any) or _kind_of(annotation) is not None:
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
    """Show a type the way a user reads it: `int`, `"a" | "b"`, `list[int]`, `float, >= 0`, `list of datasets`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if kind := _kind_of(annotation):
        return KINDS[kind].singular
    if origin is list and (kind := _kind_of(arguments[0])):
        return f"list of {kind}"
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


def parameter_model(parameters: Sequence[Parameter]) -> type[pydantic.BaseModel]:
    """Make the model that checks a table: parameter number 0 is its `field_0`, and so on.

    Raises SignatureError for a type that nothing can be checked by, such as one with a limit that it cannot have.
    """
    # Fields get names of our own, with the real ones as aliases: pydantic reserves `copy`, `schema`, ...
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        default = ... if parameter.default is REQUIRED else parameter.default
        fields[f"field_{index}"] = (
            _as_written(parameter.annotation),
            pydantic.Field(default=default, alias=parameter.name),
        )
    config = pydantic.ConfigDict(extra="forbid", strict=True)
    try:
        return pydantic.create_model("Parameters", __config__=config, **fields)
    except Exception as cause:  # pydantic has many kinds, some of them TypeErrors
        if len(parameters) > 1:
            for parameter in parameters:
                parameter_model([parameter])  # raises for the one that it is
        reason = describe(cause).rpartition("SchemaError: ")[2]  # below what pydantic was building around it
        names = " and ".join(f"'{p.name}'" for p in parameters)
        raise SignatureError(f"nothing can be checked by the type of parameter {names}: {reason}") from None


def check(
    parameters: Sequence[Parameter],
    values: dict[str, Any],
    unknown: str = "no parameter",
    also: Sequence[str] = (),
) -> tuple[dict[str, Any], list[Fault]]:
    """Check a TOML table against a component's parameters; return the validated values and all faults.

    Defaults are left to the callable: only what was given is returned. `unknown` opens the message about a
    parameter that does not exist; `also` are keys that somebody else checks, for the hint in it. Raises
    SignatureError where the signature's own rules fail.
    """
    own = [p for p in parameters if not p.injected]
    injected = {p.name for p in parameters if p.injected}
    faults = [Fault((name,), "is set by clscli from the data -- remove it") for name in values if name in injected]
    values = {k: v for k, v in values.items() if k not in injected}
    model = parameter_model(own)
    try:
        checked = model.model_validate_json(pydantic_core.to_json(values))
    except pydantic.ValidationError as error:
        return {}, faults + faults_of(error, values, [*(p.name for p in own), *also], unknown)
    except Exception as cause:  # of a validator of the author's, or a limit that the value cannot be compared to
        raise SignatureError(f"its parameters cannot be checked: {describe(cause)}") from cause
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
