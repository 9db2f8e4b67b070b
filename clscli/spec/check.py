"""Two phases of checking a draft, each reporting all that it finds.

`check_structure` needs neither torch nor any component: keys, types, and names against packaging metadata.
`resolve` imports the components that the spec names and checks their parameters.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

import pydantic
import pydantic_core

from clscli import plugins
from clscli.errors import ClscliError, DataError, PluginError, SpecError, UnknownComponentError, describe
from clscli.faults import faults_of
from clscli.spec.advice import advised, advised_for_label_sets
from clscli.spec.binding import Bound, absolute, bind, map_elements, with_example
from clscli.spec.draft import DEFAULT, Draft
from clscli.spec.schema import EVERYTHING, SLOTS, Slot, Spec, component_tables, inner_tables
from clscli.toml import Path, dotted

BACKBONE: Path = ("model", "backbone")


@dataclass(frozen=True)
class ResolvedSpec:
    """A checked spec: what was written, completed with every default, and the components it names."""

    spec: Spec
    values: dict[str, Any]  # plain TOML types; loads to itself
    draft: Draft  # for origins
    components: dict[Path, Bound]  # those within others, too

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
        """Call a component, after those within it; these get the same injected values.

        Unless its attribute `passes_on` has others for them. A component's own ValueError or DataError is a
        problem of the spec, anything else one of its package.
        """
        passed_on: Mapping[str, Any] = {**injected, **(bound.attribute("passes_on") or {})}

        def build(value: Any, _: Path) -> Any:
            return self.construct(value, **passed_on) if isinstance(value, Bound) else value

        kwargs = {name: map_elements(build, value) for name, value in bound.kwargs.items()}
        try:
            return dataclasses.replace(bound, kwargs=kwargs).call(**injected)
        except DataError as error:
            raise self.error(bound.path, str(error)) from error
        except ClscliError:
            raise
        except ValueError as error:
            raise self.error(bound.path, f"{bound.label}: {error}") from error
        except (Exception, SystemExit) as error:
            raise PluginError(f"{bound.component} failed when it was built: {describe(error)}") from error

    def one(self, *path: str) -> Bound:
        """Return the component at a path that must hold one."""
        return self.components[path]

    def many(self, *path: str) -> list[Bound]:
        """Return the components at a path that may hold none, one, or a list; not those within them."""
        return [
            bound
            for at, bound in self.components.items()
            if at == path or (at[:-1] == path and isinstance(at[-1], int))
        ]


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
    except pydantic_core.PydanticSerializationError:
        raise SpecError([f"{draft.name}: cannot be checked: it is nested too deep"]) from None
    try:
        spec = Spec.model_validate_json(text)
    except pydantic.ValidationError as error:
        for fault in faults_of(error, draft.values, (), unknown="unknown key"):
            found[fault.path] = _with_hint(draft, fault.path, fault.message)
    found |= {path: str(error) for path, error in unknown_names(draft.values, needed)}
    if spec is not None and not found:
        data = spec.data
        if data.root is None and data.train is None:
            found[("data", "root")] = 'is required -- write [data] root = "photos", or give --data photos'
        elif data.root is not None and (data.train or data.val or data.test):
            found[("data", "root")] = "stands for train, val and test -- give either root or these"
    _raise(draft, found)
    assert spec is not None
    return spec


def unknown_names(
    values: dict[str, Any], needed: Set[Path] = EVERYTHING
) -> Iterator[tuple[Path, UnknownComponentError]]:
    """Find the components that no installed package offers, without importing any."""
    for slot in component_tables(values, needed):
        yield from _unknown_names(slot)


def _unknown_names(slot: Slot) -> Iterator[tuple[Path, UnknownComponentError]]:
    name = slot.table.get("type")
    if not isinstance(name, str):
        return
    try:
        component = plugins.resolve(slot.kind, name)
    except UnknownComponentError as error:
        yield (*slot.path, "type"), error
        return
    # What a table in a table means, only the signature tells: `bind` reads it. Of our own we know it unread.
    if component.is_core and plugins.KINDS[slot.kind].contract is not None:
        for inner in inner_tables(slot):
            yield from _unknown_names(inner)


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
    if value == [] and path in SLOTS:
        return f"must be at least one {plugins.KINDS[SLOTS[path]].singular}, got []"
    return with_example(message, path, value) if path in SLOTS or path[:-1] in SLOTS else message


def resolve(draft: Draft, spec: Spec, needed: Set[Path] = EVERYTHING) -> ResolvedSpec:
    """Import the components that a checked spec names, check their parameters, and fill in every default.

    Only those in the `needed` slots: what is for training alone may take long to import, or be missing.
    Raises PluginError for a component that cannot be used, SpecError with all problems of parameters.
    """
    found: dict[Path, str] = {}
    backbone, problems = bind(draft, BACKBONE, "backbones", draft.get(BACKBONE))
    if not problems:
        draft = advised(draft, backbone)
    values = copy.deepcopy(draft.values)
    spec = Spec.model_validate_json(pydantic_core.to_json(values))
    if spec.data.root is not None:
        values["data"]["root"] = absolute(spec.data.root, draft.origin(("data", "root")))
    if spec.train.init_from is not None:
        values["train"]["init_from"] = absolute(spec.train.init_from, draft.origin(("train", "init_from")))
    components: dict[Path, Bound] = {}
    for slot in component_tables(values, needed):
        bound, problems = bind(draft, slot.path, slot.kind, slot.table)
        found.update(problems)
        components.update((one.path, one) for one in bound.walk())
        whole = bound.table()
        slot.table.clear()
        slot.table.update(whole)
    _raise(draft, found)
    return ResolvedSpec(spec, _ordered(values), draft, components)


def for_label_sets(spec: ResolvedSpec) -> ResolvedSpec:
    """Return the spec for pictures that turn out to have several labels each: other defaults, where it has any."""
    draft = advised_for_label_sets(spec.draft)
    return spec if draft == spec.draft else resolve(draft, check_structure(draft))


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
