"""`clscli list`: what is installed, from packaging metadata; only `list KIND NAME` and `--check` import it.

Of a family of names one line is shown, and its members for a pattern that begins with its name.

`clscli list presets` is for the specs that ship with clscli.
"""

from __future__ import annotations

import fnmatch
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer

from clscli.cli.console import to_json
from clscli.cli.options import PRESETS, Json, complete_kind, complete_name
from clscli.errors import UsageError
from clscli.plugins import (
    CORE,
    KINDS,
    NAME_RULE,
    Component,
    find_components,
    find_strays,
    namesakes,
    near_names,
    resolve,
)
from clscli.presets import preset_names, preset_text, preset_title
from clscli.reports.text import format_table


def list_command(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help=", ".join([*KINDS, PRESETS]) + ".", autocompletion=complete_kind),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|PATTERN",
            help="One component, or a pattern such as 'resnet*'.",
            autocompletion=complete_name,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Import everything; exit with 1 if something is broken.")
    ] = False,
    long: Annotated[
        bool, typer.Option("--long", help="Build each backbone: parameters, FLOPs, weights, licence, paper.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the installed components or the shipped specs, or show one of them."""
    if kind == PRESETS:
        if check or long:
            raise UsageError("--check and --long are for components -- try: clscli list presets")
        _list_presets(name, as_json)
        return
    if long and (kind != "backbones" or check):
        raise UsageError("--long is for backbones, without --check -- try: clscli list backbones 'resnet*' --long")
    if kind is not None and kind not in KINDS:
        known = [*KINDS, PRESETS]
        near = near_names(kind, known)
        raise UsageError(
            f"no kind '{kind}' -- " + (f"did you mean {near}?" if near else f"there are: {', '.join(known)}")
        )
    components = find_components(kind)
    if name is not None:
        if not any(sign in name for sign in "*?["):
            component = resolve(str(kind), name)
            if not (check or long or as_json):
                from clscli.reports.component import describe_component

                typer.echo(describe_component(component))
                return
            components = [component]
        else:
            components = [
                c
                for c in _with_members(components, name)
                if fnmatch.fnmatch(c.name, name) or fnmatch.fnmatch(c.qualified, name)
            ]
            if not components:
                raise UsageError(f"no {kind} match '{name}'")
    if long:
        _print_catalog(components, as_json)
        return
    if kind is None and check:
        components += find_strays()
    rows = [_row(component, check) for component in components]
    if as_json:
        typer.echo(to_json(rows, sys.stdout))
    elif kind is None:
        typer.echo(_states(rows) if check else _summary(components))
    else:
        typer.echo(_table(rows, with_kind=False, with_status=check))
    if check and any(row["status"] != "ok" for row in rows):
        raise typer.Exit(1)


def _with_members(components: Sequence[Component], pattern: str) -> list[Component]:
    """Put its members in the place of a family whose whole name a pattern begins with."""
    from clscli.families import members

    found = []
    for component in components:
        is_asked = component.is_family and pattern.startswith((component.name[:-1], component.qualified[:-1]))
        found += members(component) if is_asked else [component]
    return found


def _list_presets(name: str | None, as_json: bool) -> None:
    """List the presets, or those that match a pattern, or show the text of one."""
    names = [preset for preset in preset_names() if name is None or fnmatch.fnmatchcase(preset, name)]
    if not names:
        near = near_names(str(name), preset_names())
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(preset_names())}"
        raise UsageError(f"no preset '{name}' -- {hint}")
    if as_json:
        typer.echo(to_json([{"name": preset, "title": preset_title(preset)} for preset in names], sys.stdout))
    elif name is not None and names == [name]:
        typer.echo(preset_text(name), nl=False)
    else:
        typer.echo(format_table(("NAME", "WHAT IT IS"), [(preset, preset_title(preset)) for preset in names]))


def _print_catalog(components: Sequence[Component], as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import track

    from clscli.reports.catalog import describe_backbone, format_catalog

    console = Console(stderr=True, markup=False)
    usable = [component for component in components if component.has_valid_name and not component.is_family]
    shown = track(usable, "building", console=console, transient=True, disable=not console.is_terminal)
    entries = [describe_backbone(component) for component in shown]
    if as_json:
        rows = [{**_row(entry.component, check=False), **entry.as_json()} for entry in entries]
        typer.echo(to_json(rows, sys.stdout))
    else:
        typer.echo(format_catalog(entries))


def _row(component: Component, check: bool) -> dict[str, str]:
    status, note = _check(component) if check else ("-", _note(component))
    return {
        "kind": component.kind,
        "name": component.name,
        "qualified": component.qualified,
        "dist": component.dist,
        "version": component.version,
        "value": component.value,
        "status": status,
        "note": note,
    }


def _note(component: Component) -> str:
    """Say how a component must be named when its bare name does not reach it."""
    if not component.has_valid_name:
        return f"cannot be used: {NAME_RULE}"
    same = namesakes(component)
    if len(same) == 1 or component.is_core:
        return f"many names: clscli list {component.kind} '{component.name}'" if component.is_family else "-"
    owner = "the name belongs to clscli" if same[0].is_core else "several packages have this name"
    return f"write '{component.qualified}': {owner}"


def _check(component: Component) -> tuple[str, str]:
    """Import a component and read its signature."""
    from clscli.health import state_of

    status, note = state_of(component)
    if status != "ok":
        return status, note
    unpinned = not component.is_core and component.requires_core is None
    return "ok", "states no version of clscli that it needs" if unpinned else _note(component)


def _table(rows: Sequence[dict[str, str]], *, with_kind: bool, with_status: bool) -> str:
    header = [
        *(["KIND"] if with_kind else []),
        "NAME",
        "FROM",
        "VALUE",
        *(["STATUS"] if with_status else []),
        "NOTE",
    ]
    body = [
        [
            *([row["kind"]] if with_kind else []),
            row["name"],
            f"{row['dist']} {row['version']}",
            row["value"],
            *([row["status"]] if with_status else []),
            row["note"],
        ]
        for row in rows
    ]
    return format_table(header, body)


def _states(rows: Sequence[dict[str, str]]) -> str:
    """Count the states of every package's components, and show those that there is something to say of."""
    counts: dict[str, Counter[str]] = {}
    for row in sorted(rows, key=lambda row: (row["dist"] != CORE, row["dist"])):
        counts.setdefault(f"{row['dist']} {row['version']}", Counter())[row["status"]] += 1
    shown = [(package, ", ".join(f"{n} {status}" for status, n in c.items())) for package, c in counts.items()]
    parts = [format_table(("PACKAGE", "COMPONENTS"), shown)]
    told = [row for row in rows if row["status"] != "ok" or row["note"] != "-"]
    if told:
        parts.append(_table(told, with_kind=True, with_status=True))
    return "\n\n".join(parts)


def _summary(components: Sequence[Component]) -> str:
    """Count the components of every kind and say where they are from."""
    rows = []
    for kind in KINDS:
        dists = Counter(f"{c.dist} {c.version}" for c in components if c.kind == kind)
        rows.append((kind, str(sum(dists.values())), ", ".join(f"{d} ({n})" for d, n in dists.items()) or "-"))
    table = format_table(("KIND", "COUNT", "FROM"), rows, right=(1,))
    return (
        f"{table}\n\nnext: clscli list backbones, clscli list backbones 'resnet*', clscli list backbones resnet18"
    )
