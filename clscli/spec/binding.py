"""From a component's table to the component with its checked parameters, and those of the components within."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from clscli import plugins
from clscli.errors import PluginError, UnknownComponentError
from clscli.locations import Location, is_url
from clscli.signature import Parameter, SignatureError, check, complete, read_parameters
from clscli.spec.builder_keys import builder_keys
from clscli.spec.draft import Draft, Origin
from clscli.toml import Path, dotted, format_value


@dataclass(frozen=True)
class Bound:
    """A component with its checked parameters, waiting for what clscli injects."""

    component: plugins.Component
    function: Callable[..., Any]
    parameters: list[Parameter]
    kwargs: dict[str, Any]  # a component within is a Bound, too
    builder: dict[str, Any]  # what the builder does with it: see `builder_keys.py`
    path: Path

    @property
    def label(self) -> str:
        """How messages name it: `backbone 'resnet18'`."""
        return f"{plugins.KINDS[self.component.kind].singular} '{self.component.spec_name}'"

    def takes(self, name: str) -> bool:
        """Whether the signature asks for an injected parameter."""
        return any(p.injected and p.name == name for p in self.parameters)

    def has_parameter(self, name: str) -> bool:
        """Whether a spec may set the parameter."""
        return any(not p.injected and p.name == name for p in self.parameters)

    @property
    def within(self) -> list[Bound]:
        """The components among the parameters."""
        values = [v if isinstance(v, list | tuple) else [v] for v in self.kwargs.values()]
        return [element for value in values for element in value if isinstance(element, Bound)]

    def walk(self) -> Iterator[Bound]:
        """Yield this component and all that are within it, at any depth."""
        yield self
        for bound in self.within:
            yield from bound.walk()

    def complete_parameters(self) -> dict[str, Any]:
        """Return all parameters that a spec may set, in plain TOML types, defaults included."""
        plain = {key: map_elements(_table_of, value) for key, value in self.kwargs.items()}
        try:
            return complete(self.parameters, plain)
        except SignatureError as error:
            raise PluginError(f"{self.component} cannot be used in a spec: {error}") from None

    def table(self) -> dict[str, Any]:
        """Write the component's table with all its defaults."""
        return {"type": self.component.spec_name, **self.builder, **self.complete_parameters()}

    def attribute(self, name: str) -> Any:
        """Return an attribute of the component, or of the class that it is a partial of; None without it."""
        function: Any = self.function
        while isinstance(function, functools.partial) and not hasattr(function, name):
            function = function.func
        return getattr(function, name, None)

    def call(self, **injected: Any) -> Any:
        """Call the component with its parameters, and with those injected values that it asks for."""
        return self.function(**{k: v for k, v in injected.items() if self.takes(k)}, **self.kwargs)


def bind(draft: Draft, path: Path, kind: str, table: dict[str, Any]) -> tuple[Bound, dict[Path, str]]:
    """Import the component that a table names and check the table; return it, and the problems by path.

    Raises UnknownComponentError, or PluginError for a component that cannot be used.
    """
    component = plugins.resolve(kind, table["type"])
    function = plugins.load(component)
    label = f"{plugins.KINDS[kind].singular} '{table['type']}'"
    try:
        parameters = read_parameters(function, plugins.KINDS[kind].injected)
        keys = builder_keys(kind, parameters)
        given = {k: v for k, v in table.items() if k != "type" and k not in keys}
        kwargs, faults = check(parameters, given, f"{label} has no parameter", also=list(keys))
    except SignatureError as error:
        raise PluginError(f"{component} cannot be used in a spec: {error}") from None
    found = {(*path, *fault.path): fault.message for fault in faults}
    builder: dict[str, Any] = {}
    for name, key in keys.items():
        if name in table:
            builder[name], faults = key.check(table[name])
            found.update({(*path, name, *fault.path): fault.message for fault in faults})
    weights = builder.get("pretrained")
    if isinstance(weights, str) and _is_path(weights):
        builder["pretrained"] = absolute(weights, draft.origin((*path, "pretrained")))
    kwargs = {key: _anchor(draft, value, (*path, key)) for key, value in kwargs.items()}
    for parameter in parameters:
        if parameter.kind is not None and parameter.name in given:
            # As it was written, if the table around has problems: all are to be told at once.
            value = kwargs.get(parameter.name, given[parameter.name])
            value = _bind_within(draft, (*path, parameter.name), parameter.kind, value, found)
            if parameter.name in kwargs:
                kwargs[parameter.name] = value
    return Bound(component, function, parameters, kwargs, builder, path), found


def _bind_within(draft: Draft, path: Path, kind: str, value: Any, found: dict[Path, str]) -> Any:
    """Bind the component tables in the value of a parameter, adding their problems to `found`."""

    def bind_one(table: Any, at: Path) -> Any:
        if at in found:
            found[at] = with_example(found[at], at, table)
        if not (isinstance(table, dict) and isinstance(table.get("type"), str)):
            return table  # a problem already, unless it is None
        try:
            bound, problems = bind(draft, at, kind, table)
        except UnknownComponentError as error:
            found[(*at, "type")] = str(error)
            return table
        found.update(problems)
        return bound

    return map_elements(bind_one, value, path)


def map_elements(change: Callable[[Any, Path], Any], value: Any, path: Path = ()) -> Any:
    """Change a value, or each element of a list, by a function of it and its path."""
    if type(value) in (list, tuple):
        return type(value)(map_elements(change, inner, (*path, index)) for index, inner in enumerate(value))
    return change(value, path)


def _table_of(value: Any, _: Path) -> Any:
    return value.table() if isinstance(value, Bound) else value


def with_example(message: str, path: Path, value: Any) -> str:
    """Add to a problem with a component's table how to write one, where only a name was written."""
    if not isinstance(value, str):
        return message
    name = format_value(value)
    table = f"{{ type = {name} }}"
    wanted = "list" if message.startswith("must be a list,") else "table"
    shown = f"[{table}]" if wanted == "list" else table
    return f"must be a {wanted}, got {name} -- write {dotted(path)} = {shown}"


def _is_path(text: str) -> bool:
    """Tell a file of weights from the name of published ones and from a URL."""
    return "://" not in text and ("/" in text or "\\" in text or FilePath(text).suffix != "")


def _anchor(draft: Draft, value: Any, path: Path) -> Any:
    """Make the paths in a checked value absolute."""

    def anchor(inner: Any, at: Path) -> Any:
        if isinstance(inner, FilePath):
            return FilePath(absolute(str(inner), draft.origin(at)))
        return absolute(inner, draft.origin(at)) if isinstance(inner, Location) else inner

    return map_elements(anchor, value, path)


def absolute(path: str, origin: Origin) -> str:
    """Make a path absolute: one in a spec file is relative to that file's folder, as with `extends`.

    A URL stays as it is.
    """
    if is_url(path):
        return str(path)
    try:
        expanded = FilePath(path).expanduser()
    except RuntimeError:  # `~name` of nobody: a name like any other
        expanded = FilePath(path)
    return str((origin.folder or FilePath.cwd()) / expanded)
