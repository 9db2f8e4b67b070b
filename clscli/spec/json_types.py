"""JSON Schema of what pydantic checks, in draft 7: editors of TOML know no later one.

A spec need not be whole, as what it extends and the defaults say the rest: nothing is required here.

A component's table is checked by its `type`, under `if` and `then`: so an error is at the key that is wrong.
Taplo (https://taplo.tamasfe.dev), which most editors use for TOML, does not look there for what can be written,
but under `anyOf`: there it finds the parameters of all components of the kind, beside `true`, which allows all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pydantic
from pydantic.json_schema import GenerateJsonSchema

from clscli.signature import ComponentTable

Schema = dict[str, Any]
Keys = tuple[str, ...]

# Makes the schema of a component's table by its place, and by whether it stands there alone or in a list.
TableMaker = Callable[[Keys, bool], Schema]

# Names that pydantic invents, defaults (added where they are known), and what it does not insist on.
_DROPPED = frozenset({"title", "default", "required", "uniqueItems"})
_CHOICES = frozenset({"enum", "const"})


class _Quiet(GenerateJsonSchema):
    """Without warnings about defaults that JSON cannot write: none is taken from here."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012


def properties_of(model: type[pydantic.BaseModel], make_table: TableMaker) -> dict[str, Schema]:
    """Return the schema of every key of a model, without any references to other models."""
    whole = model.model_json_schema(ref_template="{model}", schema_generator=_Quiet)
    models = whole.get("$defs", {})

    def translate(schema: Any, keys: Keys, in_list: bool = False) -> Any:
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            name = schema["$ref"]
            is_component = name == ComponentTable.__name__
            return make_table(keys, in_list) if is_component else translate(models[name], keys)
        result: Schema = {}
        for word, value in schema.items():
            if word in _DROPPED:
                continue
            if word == "prefixItems":  # of a tuple, which has a `maxItems`, too
                result["items"] = [translate(v, keys, True) for v in value]
            elif word == "items":
                result["items"] = translate(value, keys, True)
            elif word == "properties":
                result["properties"] = {key: translate(v, (*keys, key)) for key, v in value.items()}
            elif word == "anyOf":  # TOML has no null
                result |= join([translate(v, keys) for v in value if v != {"type": "null"}])
            elif word == "description":
                result["description"] = first_line(value)
            else:
                result[word] = value if word in _CHOICES else translate(value, keys)
        return result

    return {key: translate(value, (key,)) for key, value in whole.get("properties", {}).items()}


def join(branches: Sequence[Schema]) -> Schema:
    """Allow any of several schemas: in one, where each has a type of its own, so that errors have exact places."""
    if len(branches) == 1:
        return branches[0]
    types = [branch.get("type") for branch in branches]
    is_plain = all(isinstance(t, str) for t in types) and len(set(types)) == len(types)
    if not is_plain or {"integer", "number"} <= set(types) or any(_CHOICES & branch.keys() for branch in branches):
        return {"anyOf": list(branches)}
    return {word: value for branch in branches for word, value in branch.items()} | {"type": types}


def common(schemas: Sequence[Schema]) -> Schema:
    """Allow what any of several schemas allows, and perhaps more: what they all say, and every choice."""
    first, *others = schemas
    result = {word: value for word, value in first.items() if all(other.get(word) == value for other in others)}
    if all("enum" in schema for schema in schemas):
        result["enum"] = list(dict.fromkeys(choice for schema in schemas for choice in schema["enum"]))
    return result


def first_line(docstring: str | None) -> str:
    """Return the sentence that a docstring opens with."""
    return (docstring or "").strip().partition("\n")[0].rstrip()


def table_of(kind: str, notes: Schema) -> Schema:
    """Describe a component's table; one without a `type` goes on with that of a spec that this one extends."""
    known = {"$ref": f"#/definitions/{kind}.parameters"}
    return notes | {
        "type": "object",
        "anyOf": [True, notes | {"allOf": [known]}],
        "if": {"required": ["type"]},
        "then": {"$ref": f"#/definitions/{kind}.by_type"},
        "else": known,
    }


def element_of(kind: str) -> Schema:
    """Describe a component's table in a list, where it is not merged with another and so has a `type`."""
    return {"$ref": f"#/definitions/{kind}"}


def one_or_list_of(kind: str, notes: Schema) -> Schema:
    """Describe a key that takes a component's table or a list of them."""
    return table_of(kind, notes) | {"type": ["object", "array"], "items": element_of(kind)}
