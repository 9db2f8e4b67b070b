"""`--set key=value` and `--unset key`: parsing, with a hint for each usual slip."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from clscli.toml import Path

_HINTS = {
    "True": "TOML writes true, not True",
    "False": "TOML writes false, not False",
    "None": "TOML has no None: use --unset to return to the default",
    "none": None,  # a word that parameters use
    "null": "TOML has no null: use --unset to return to the default",
}


class OverrideError(ValueError):
    """A `--set` or `--unset` that cannot be understood; the message says what to write."""


def parse_set(text: str) -> tuple[Path, Any]:
    """Split `a.b.0.c=value` into a path and a value.

    The value is read as TOML; what is not TOML is taken for a string unless it looks like a slip.
    Raises OverrideError.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise OverrideError("must have the form key=value, such as optimizer.lr=0.01")
    return parse_key(key), _parse_value(value.strip())


def parse_key(text: str) -> Path:
    """Read a dotted key; integers are indices into arrays. Raises OverrideError."""
    text = text.strip()
    try:
        # A second statement could hide behind a line end.
        table: Any = tomllib.loads(f"{text} = 0") if "\n" not in text else {}
    except tomllib.TOMLDecodeError:
        table = {}
    if not table:
        raise OverrideError(f"{text!r} is not a dotted key such as model.backbone.type")
    path: Path = ()
    while isinstance(table, dict):
        key, table = next(iter(table.items()))
        path += (int(key) if key.isdecimal() else key,)
    return path


def _parse_value(text: str) -> Any:
    try:
        # Inside brackets neither a comment nor a second statement can hide behind the value.
        values = tomllib.loads(f"value = [{text}]")["value"]
    except (ValueError, RecursionError):  # not TOML, or past tomllib's limits of digits and depth
        values = []
    if len(values) == 1 and not text.endswith(","):
        return values[0]
    hint = _slip(text)
    if hint:
        raise OverrideError(f"cannot read the value {text!r} -- {hint}")
    return text


def _slip(text: str) -> str | None:
    """Name the slip that a value which is not TOML seems to be, if it is one."""
    if text in _HINTS:
        return _HINTS[text]
    if not text:
        return 'write "" for an empty string, or use --unset'
    if text.startswith(("[", "{")):
        return 'quote the strings inside, as in ["avg", "max"], and quote the whole for the shell'
    if re.fullmatch(r"[+-]?\.\d+(e[+-]?\d+)?", text, re.IGNORECASE):
        return f"TOML writes {text.replace('.', '0.', 1)}, not {text}"
    if re.fullmatch(r"[+-]?\d+\.(e[+-]?\d+)?", text, re.IGNORECASE):
        return f"TOML writes {text.replace('.', '.0', 1)}, not {text}"
    if re.fullmatch(r"[+-]?0\d+", text):
        return f"TOML writes {int(text)}, without leading zeros; quote it if it is a string"
    if re.search(r"[\n\"'#]", text) or "," in text:
        return "write a list as [1, 2]; put a string with such characters in quotes of its own"
    return None
