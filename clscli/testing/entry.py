"""What can be told of a component before it is built: its name, its module, its signature, its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from clscli.errors import ClscliError
from clscli.plugins import KINDS, NAME, NAME_RULE, Component, find_components, load, resolve
from clscli.signature import SignatureError, complete, read_parameters, unwrap
from clscli.spec.binding import Bound, bind
from clscli.spec.draft import Draft
from clscli.testing.case import RuleError
from clscli.testing.imports import deeds_of
from clscli.toml import dotted


def find(kind: str, name: str) -> Component:
    """Find a component by the name that a spec writes."""
    short = name.rpartition(":")[2]
    if not NAME.fullmatch(short) and any(short == c.name for c in find_components(kind)):
        raise RuleError(f"'{short}' cannot be written in a spec: {NAME_RULE}", "rename its entry point")
    try:
        return resolve(kind, name)
    except ClscliError as error:
        raise RuleError(
            str(error), "entry points are seen after an install: run pip install -e . again"
        ) from error


def bind_checked(component: Component, parameters: dict[str, Any], broken: dict[str, str]) -> Bound | None:
    """Check what comes before building; return the component with its parameters, or None if it has no use."""
    try:
        function = load(component)
    except ClscliError as error:
        broken["imports"] = str(error)
        return None
    checks: dict[str, Callable[[], None]] = {
        "imports": lambda: check_imports(component),
        "signature": lambda: check_signature(component, function),
        "description": lambda: check_description(function),
        "defaults": lambda: check_defaults(component, function),
    }
    for rule, check in checks.items():
        try:
            check()
        except RuleError as error:
            broken[rule] = str(error)
            if error.is_fatal:
                return None
    return _bind(component, parameters, broken)


def _bind(component: Component, parameters: dict[str, Any], broken: dict[str, str]) -> Bound | None:
    table = {"type": component.qualified, **parameters}
    try:
        bound, problems = bind(Draft(), (), component.kind, table)
    except ClscliError as error:
        broken["builds"] = str(error)
        return None
    if problems:
        found = "; ".join(f"{dotted(path)}: {message}" for path, message in problems.items())
        broken["builds"] = f"{found} -- give check_component the parameters that it needs"
        return None
    return bound


def check_imports(component: Component) -> None:
    """Ask a fresh process what importing the component's module does."""
    deeds = deeds_of(component)
    if deeds:
        raise RuleError("; ".join(deeds), "do this where the component is first used, never while it is imported")


def check_signature(component: Component, function: Callable[..., Any]) -> None:
    """Read the signature as a spec's check does."""
    try:
        parameters = read_parameters(function, KINDS[component.kind].injected)
    except SignatureError as error:
        raise RuleError(str(error), "a spec's table is checked against the signature", is_fatal=True) from error
    signature = inspect.signature(function).parameters
    by_position = [
        f"'{p.name}'"
        for p in parameters
        if not p.injected and signature[p.name].kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    if by_position:
        noun = "parameters" if len(by_position) > 1 else "parameter"
        raise RuleError(f"{noun} {', '.join(by_position)} can be given by position", "put a * before them")


def check_description(function: Callable[..., Any]) -> None:
    """Look at the first line of the docstring."""
    doc = inspect.cleandoc(unwrap(function).__doc__ or "")
    if not doc:
        raise RuleError("it has no docstring", "say in one sentence what it does")
    first = doc.splitlines()[0]
    if not first.endswith("."):
        raise RuleError(
            f"the first line is {first!r}", "end it with a full stop, and leave the details to a paragraph below"
        )


def check_defaults(component: Component, function: Callable[..., Any]) -> None:
    """Check the defaults as if a spec had written them."""
    try:
        complete(read_parameters(function, KINDS[component.kind].injected), {})
    except SignatureError as error:
        raise RuleError(str(error), "a resolved spec writes defaults out, and must load to itself") from error
