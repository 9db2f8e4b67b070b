"""Two phases of checking a draft, each reporting all that it finds.

`check_structure` needs neither torch nor any component: keys, types, and names against packaging metadata.
`resolve` imports the components that the spec names and checks their parameters.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import pydantic
import pydantic_core

from clscli import plugins
from clscli.errors import ClscliError, PluginError, SpecError, UnknownComponentError, describe
from clscli.signature import Parameter, SignatureError, check, complete, faults_of, read_parameters
from clscli.spec.advice import advised
from clscli.spec.builder_keys import builder_keys
from clscli.spec.draft import DEFAULT, Draft, Origin
from clscli.spec.schema import EVERYTHING, SLOTS, Spec, component_tables
from clscli.toml import Path, dotted, format_value

BACKBONE: Path = ("model", "backbone")


@dataclass(frozen=True)
class Bound:
    """A component with its checked parameters, waiting for what clscli injects."""

    component: plugins.Component
    function: Callable[..., Any]
    parameters: list[Parameter]
    kwargs: dict[str, Any]
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

    def complete_parameters(self) -> dict[str, Any]:
        """Return all parameters that a spec may set, in plain TOML types, defaults included."""
        try:
            return complete(self.parameters, self.kwargs)
        except SignatureError as error:
            raise PluginError(f"{self.component} cannot be used in a spec: {error}") from None

    def attribute(self, name: str) -> Any:
        """Return an attribute of the component, or of the class that it is a partial of; None without it."""
        function: Any = self.function
        while isinstance(function, functools.partial) and not hasattr(function, name):
            function = function.func
        return getattr(function, name, None)

    def call(self, **injected: Any) -> Any:
        """Call the component with its parameters, and with those injected values that it asks for."""
        return self.function(**{k: v for k, v in injected.items() if self.takes(k)}, **self.kwargs)


@dataclass(frozen=True)
class ResolvedSpec:
    """A checked spec: what was written, completed with every default, and the components it names."""

    spec: Spec
    values: dict[str, Any]  # plain TOML types; loads to itself
    draft: Draft  # for origins
    components: dict[Path, Bound]

    def problem(self, path: Path, message: str) -> str:
        """Word a problem with the value at `path`: `spec.toml:3: model.head: message`."""
        return word_problem(self.draft, path, message)

    def error(self, path: Path, message: str) -> SpecError:
        """Make an error of one problem."""
        return SpecError([self.problem(path, message)])

    def settled(self, table: str, key: str, value: Any) -> ResolvedSpec:
        """Return this spec with a value in the place of an "auto" that only the machine could settle."""
        values = copy.deepcopy(self.values)
        values[table][key] = value
        return dataclasses.replace(
            self, spec=Spec.model_validate_json(pydantic_core.to_json(values)), values=values
        )

    def construct(self, bound: Bound, **injected: Any) -> Any:
        """Call a component; its own ValueError is a problem of the spec, anything else one of its package."""
        try:
            return bound.call(**injected)
        except ClscliError:
            raise
        except ValueError as error:
            raise self.error(bound.path, f"{bound.label}: {error}") from error
        except Exception as error:
            raise PluginError(f"{bound.component} failed when it was built: {describe(error)}") from error

    def one(self, *path: str) -> Bound:
        """Return the component at a path that must hold one."""
        return self.components[path]

    def many(self, *path: str) -> list[Bound]:
        """Return the components at a path that may hold none, one, or a list."""
        return [bound for at, bound in self.components.items() if at[: len(path)] == path]


def word_problem(draft: Draft, path: Path, message: str) -> str:
    """Write one problem on one line: where, which key, what is wrong."""
    origin = draft.origin(path)
    where = draft.name if origin == DEFAULT else origin.where  # a default alone is never wrong
    return f"{where}: {dotted(path)}: {message}"


def check_structure(draft: Draft, needed: Set[Path] = EVERYTHING) -> Spec:
    """Check keys, types and component names without importing any component.

    Components outside the `needed` slots need not be installed.
    Raises SpecError with all problems, in the order of the layers and their lines.
    """
    found: dict[Path, str] = {}
    spec = None
    try:
        text = pydantic_core.to_json(draft.values)
    except pydantic_core.PydanticSerializationError as error:
        raise SpecError([f"{draft.name}: cannot be checked: {describe(error)}"]) from None  # nested too deep
    try:
        spec = Spec.model_validate_json(text)
    except pydantic.ValidationError as error:
        for fault in faults_of(error, draft.values, (), unknown="unknown key"):
            found[fault.path] = _with_hint(draft, fault.path, fault.message)
    for slot in component_tables(draft.values, needed):
        name = slot.table.get("type")
        if not isinstance(name, str):
            continue
        try:
            plugins.resolve(slot.kind, name)
        except UnknownComponentError as error:
            found[(*slot.path, "type")] = str(error)
    if spec is not None and not found:
        data = spec.data
        if data.root is None and data.train is None:
            found[("data", "root")] = 'is required -- write [data] root = "photos", or give --data photos'
        elif data.root is not None and (data.train or data.val or data.test):
            found[("data", "root")] = "stands for train, val and test -- give either root or these"
    _raise(draft, found)
    assert spec is not None
    return spec


def _with_hint(draft: Draft, path: Path, message: str) -> str:
    """Add what only the place in the spec can tell: near keys, and how to write a component."""
    if message.startswith("unknown key"):
        table: type[pydantic.BaseModel] = Spec
        for key in path[:-1]:
            annotation = table.model_fields[str(key)].annotation
            if not (isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)):
                break
            table = annotation
        known = [*table.model_fields, *(("extends", "unset") if len(path) == 1 else ())]
        near = plugins.near_names(str(path[-1]), known)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(known)}"
        return f"unknown key '{path[-1]}' -- {hint}"
    value = draft.get(path)
    kind = SLOTS.get(path) or SLOTS.get(path[:-1])
    if kind is not None and isinstance(value, str):
        name = format_value(value)
        table_text = f"{{ type = {name} }}"
        wanted = "list" if message.startswith("must be a list,") else "table"
        shown = f"[{table_text}]" if wanted == "list" else table_text
        return f"must be a {wanted}, got {name} -- write {dotted(path)} = {shown}"
    return message


def resolve(draft: Draft, spec: Spec, needed: Set[Path] = EVERYTHING) -> ResolvedSpec:
    """Import the components that a checked spec names, check their parameters, and fill in every default.

    Only those in the `needed` slots: what is for training alone may take long to import, or be missing.
    Raises PluginError for a component that cannot be used, SpecError with all problems of parameters.
    """
    found: dict[Path, str] = {}
    backbone, problems = _bind(draft, BACKBONE, "backbones", draft.get(BACKBONE))
    if not problems:
        draft = advised(draft, backbone)
    values = copy.deepcopy(draft.values)
    spec = Spec.model_validate_json(pydantic_core.to_json(values))
    if spec.data.root is not None:
        values["data"]["root"] = _absolute(spec.data.root, draft.origin(("data", "root")))
    if spec.train.init_from is not None:
        values["train"]["init_from"] = _absolute(spec.train.init_from, draft.origin(("train", "init_from")))
    components: dict[Path, Bound] = {}
    for slot in component_tables(values, needed):
        bound, problems = _bind(draft, slot.path, slot.kind, slot.table)
        found.update(problems)
        components[slot.path] = bound
        whole = _complete(bound)
        slot.table.clear()
        slot.table.update(whole)
    _raise(draft, found)
    return ResolvedSpec(spec, _ordered(values), draft, components)


def _bind(draft: Draft, path: Path, kind: str, table: dict[str, Any]) -> tuple[Bound, dict[Path, str]]:
    component = plugins.resolve(kind, table["type"])
    function = plugins.load(component)
    try:
        parameters = read_parameters(function, plugins.KINDS[kind].injected)
    except SignatureError as error:
        raise PluginError(f"{component} cannot be used in a spec: {error}") from None
    keys = builder_keys(kind, parameters)
    given = {k: v for k, v in table.items() if k != "type" and k not in keys}
    label = f"{plugins.KINDS[kind].singular} '{table['type']}'"
    kwargs, faults = check(parameters, given, f"{label} has no parameter", also=list(keys))
    found = {(*path, *fault.path): fault.message for fault in faults}
    builder: dict[str, Any] = {}
    for name, key in keys.items():
        if name in table:
            builder[name], faults = key.check(table[name])
            found.update({(*path, name, *fault.path): fault.message for fault in faults})
    weights = builder.get("pretrained")
    if isinstance(weights, str) and _is_path(weights):
        builder["pretrained"] = _absolute(weights, draft.origin((*path, "pretrained")))
    kwargs = {key: _anchor(value, draft.origin((*path, key))) for key, value in kwargs.items()}
    return Bound(component, function, parameters, kwargs, builder, path), found


def _is_path(text: str) -> bool:
    """Tell a file of weights from the name of published ones and from a URL."""
    return "://" not in text and ("/" in text or "\\" in text or FilePath(text).suffix != "")


def _anchor(value: Any, origin: Origin) -> Any:
    """Make the paths in a checked value absolute."""
    if isinstance(value, FilePath):
        return FilePath(_absolute(str(value), origin))
    if type(value) in (list, tuple):
        return type(value)(_anchor(element, origin) for element in value)
    return value


def _absolute(path: str, origin: Origin) -> str:
    """Make a path absolute: one in a spec file is relative to that file's folder, as with `extends`."""
    try:
        expanded = FilePath(path).expanduser()
    except RuntimeError:  # `~name` of nobody: a name like any other
        expanded = FilePath(path)
    return str((origin.folder or FilePath.cwd()) / expanded)


def _complete(bound: Bound) -> dict[str, Any]:
    """Write a component's table with all its defaults."""
    return {"type": bound.component.spec_name, **bound.builder, **bound.complete_parameters()}


def _ordered(values: dict[str, Any]) -> dict[str, Any]:
    """Put tables and keys into the order of the schema, so that equal specs are equal texts."""

    def order(table: dict[str, Any], model: type[pydantic.BaseModel]) -> dict[str, Any]:
        result = {}
        for key, info in model.model_fields.items():
            if key not in table:
                continue
            inner: Any = info.annotation
            is_table = isinstance(inner, type) and issubclass(inner, pydantic.BaseModel)
            is_plain = is_table and inner.model_config.get("extra") == "forbid"
            result[key] = order(table[key], inner) if is_plain else table[key]
        return result

    return order(values, Spec)


def _raise(draft: Draft, found: dict[Path, str]) -> None:
    if found:
        places = sorted(found, key=lambda path: (draft.origin(path).order, path))
        raise SpecError([word_problem(draft, path, found[path]) for path in places])
