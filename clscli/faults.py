"""What pydantic finds wrong with values, in words for a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from clscli.plugins import near_names
from clscli.toml import format_value


@dataclass(frozen=True)
class Fault:
    """What is wrong with one value: where below the component's table, and the message with its hint."""

    path: tuple[str | int, ...]
    message: str


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
    expected = [m.removeprefix("must ").partition(", got ") for m in dict.fromkeys(messages)]
    if len(expected) == 1 or not all(m.startswith("must ") for m in messages):
        return messages[0]
    first, *others = [e[0] for e in expected]
    choices = " or ".join([first, *(o.removeprefix("be ") for o in others)])
    return f"must {choices}, got {expected[0][2].partition(' -- ')[0]}"


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
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
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
