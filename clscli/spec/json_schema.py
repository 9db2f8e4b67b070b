"""The JSON Schema of a spec file, with every component that is installed here: for editors of TOML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from clscli import __version__
from clscli.errors import ClscliError
from clscli.plugins import CORE, KINDS, Component
from clscli.reports.text import list_some
from clscli.signature import SignatureError
from clscli.spec.descriptions import DESCRIPTIONS
from clscli.spec.json_choices import INITIALIZATIONS, Choice, choice_of, default_of, initializations
from clscli.spec.json_types import Keys, Schema, common, element_of, properties_of, table_of
from clscli.spec.read import read_defaults
from clscli.spec.schema import SLOTS, Spec
from clscli.toml import dotted


class SpecSchema(NamedTuple):
    """The document, and what is wrong with the components that it leaves out."""

    document: Schema
    problems: list[str]


def spec_schema(components: Iterable[Component]) -> SpecSchema:
    """Describe spec files in which these components may be used; imports each of them."""
    choices: dict[str, list[Choice]] = {kind: [] for kind in KINDS}
    problems = []
    for component in components:
        try:
            choices[component.kind].append(choice_of(component))
        except ClscliError as error:
            problems.append(str(error))
        except SignatureError as error:
            problems.append(f"{component} cannot be used in a spec: {error}")
    choices[INITIALIZATIONS] = list(initializations())
    definitions: dict[str, Schema] = {}
    for kind, of_kind in choices.items():
        definitions |= _definitions(kind, of_kind)
    root = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "clscli spec",
        "description": f"A spec of clscli {__version__}.",
        "type": "object",
        "properties": _keys_of_files() | _with_notes(properties_of(Spec, _table_at), ()),
        "additionalProperties": False,
    }
    return SpecSchema(root | {"definitions": definitions | _share(definitions)}, problems)


# The keys of a spec


def _keys_of_files() -> dict[str, Schema]:
    """Describe what the reader of files understands; a spec that is read has neither."""
    strings = {"type": ["string", "array"], "items": {"type": "string"}}
    return {key: {"description": DESCRIPTIONS[key], **strings} for key in ("extends", "unset")}


def _table_at(keys: Keys, in_list: bool) -> Schema:
    return element_of(SLOTS[keys]) if in_list else table_of(SLOTS[keys], _notes_at(keys))


def _notes_at(keys: Keys) -> Schema:
    said = DESCRIPTIONS.get(dotted(keys))
    default = read_defaults().get(keys)
    is_value = not isinstance(default, dict) or keys in SLOTS
    return ({"description": said} if said else {}) | (default_of(default) if is_value else {})


def _with_notes(properties: dict[str, Schema], path: Keys) -> dict[str, Schema]:
    """Add descriptions and defaults to keys, those of the tables in them included."""
    result = {}
    for key, schema in properties.items():
        here = (*path, key)
        if "properties" in schema:
            schema = schema | {"properties": _with_notes(schema["properties"], here)}
        result[key] = _notes_at(here) | schema
    return result


# What tables of components refer to


def _definitions(kind: str, choices: Sequence[Choice]) -> dict[str, Schema]:
    """Describe the components of a kind; without a word for objects alone: lists may be in their places."""
    names = {"enum": [name for choice in choices if choice.pattern is None for name in choice.names]}
    families = [choice.condition for choice in choices if choice.pattern is not None]
    by_type = [
        {
            "if": {"properties": {"type": choice.condition}},
            "then": {"$ref": f"#/definitions/{kind}.{choice.key}"},
        }
        for choice in choices
    ]
    known = {"type": _suggestions(kind, choices), **_all_parameters(choices)}
    return {
        kind: table_of(kind, {}) | {"required": ["type"]},
        f"{kind}.by_type": {
            "properties": {"type": {"anyOf": [names, *families]} if families else names},
            "allOf": by_type,
        },
        f"{kind}.parameters": {"properties": known, "additionalProperties": bool(families)},
        **{f"{kind}.{choice.key}": _component(choice) for choice in choices},
    }


def _component(choice: Choice) -> Schema:
    return {
        "title": choice.title,
        "description": choice.description,
        "properties": {"type": True, **choice.properties},
        "additionalProperties": choice.pattern is not None,
    }


def _suggestions(kind: str, choices: Sequence[Choice]) -> Schema:
    """List the names to choose from, with a sentence on each; our own in the short form only."""
    shown = {name: c.description for c in choices for name in c.names if not name.startswith(f"{CORE}:")}
    about = {"description": f"Its name; see: clscli list {kind}"} if kind in KINDS else {}
    return about | {"enum": list(shown), "x-taplo": {"docs": {"enumValues": list(shown.values())}}}


def _all_parameters(choices: Sequence[Choice]) -> dict[str, Schema]:
    """Describe every parameter that any component of a kind has, as far as those that have it agree."""
    owners: dict[str, list[Choice]] = {}
    for choice in choices:
        for name in choice.properties:
            owners.setdefault(name, []).append(choice)
    result = {}
    for name, having in sorted(owners.items()):
        schemas = [choice.properties[name] for choice in having]
        said = dict.fromkeys(schema["description"] for schema in schemas)
        of = list_some([choice.names[0] for choice in having], 5)
        result[name] = common(schemas) | {"description": f"{'; '.join(said)} -- of {of}"}
    return result


def _share(definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Put references where several components say the same of a parameter; return what these refer to."""
    places = [d["properties"] for d in definitions.values() if "title" in d]
    texts = Counter((key, _text(schema)) for place in places for key, schema in place.items())
    shared: dict[str, Schema] = {}
    names: dict[tuple[str, str], str] = {}
    for place in places:
        for key, schema in place.items():
            what = (key, _text(schema))
            if texts[what] > 1 and schema is not True:
                # A number is no component's name, so there is no other definition like `losses.0`.
                name = names.setdefault(what, f"{key}.{sum(other == key for other, _ in names)}")
                shared[name] = schema
                place[key] = {"$ref": f"#/definitions/{name}"}
    return shared


def _text(schema: Any) -> str:
    return json.dumps(schema, sort_keys=True)
