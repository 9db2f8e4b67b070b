"""`clscli schema`: what a spec may hold, as a JSON Schema, for editors that complete and check while typing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from clscli.cli.console import say
from clscli.errors import UsageError
from clscli.plugins import find_components


def schema_command(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it, such as clscli.schema.json.")
    ] = None,
) -> None:
    """Write a JSON Schema of specs, with every installed component, for editors of TOML."""
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    for problem in write_schema(out):
        say(f"left out: {problem}")


def write_schema(out: Path | None) -> list[str]:
    """Write the schema to a file or to stdout; return why components are left out."""
    components = [component for component in find_components() if component.has_valid_name]
    say(f"importing {len(components)} components ...")

    from clscli.files import atomic_write
    from clscli.spec.json_schema import spec_schema

    document, problems = spec_schema(components)
    # Escapes instead of rarer letters: so the text is the same in whatever encoding it is redirected to.
    text = json.dumps(document, indent=1)
    if out is None:
        typer.echo(text)
    else:
        with atomic_write(out) as path:
            path.write_text(f"{text}\n", encoding="utf-8")
        say(f"wrote {out} -- for a spec beside it, whose first line is: #:schema ./{out.name}")
    return problems
