"""`clscli new`: files to begin with."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from clscli.cli.console import say
from clscli.new_plugin import EXAMPLES, License, read_kinds, write_plugin
from clscli.plugins import KINDS

new_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # as for all of clscli
    help="Write files to begin with.",
)


def complete_singular(incomplete: str) -> list[str]:
    """Complete the kind of one component."""
    words = (kind.singular.replace(" ", "-") for kind in KINDS.values())
    return [word for word in words if word.startswith(incomplete)]


@new_app.command("plugin")
def plugin_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name to install it by, such as my-backbones.")],
    kinds: Annotated[
        list[str],
        typer.Option(
            "--kind",
            metavar="KIND",
            help=f"{', '.join(complete_singular(''))}; may be repeated.",
            autocompletion=complete_singular,
        ),
    ],
    license_name: Annotated[License, typer.Option("--license", help="The text of LICENSE.")] = "MIT",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder for it (default: ./NAME).")] = None,
) -> None:
    """Write a package of components that installs, and whose tests pass, before a line of it is changed.

    One small component of each kind, with its entry point, a test, a README, a licence and a CI workflow.
    """
    folder = out if out is not None else Path(name)
    found = read_kinds(kinds)
    write_plugin(name, found, license_name=license_name, out=folder)
    written = ", ".join(f"{KINDS[kind].singular} '{EXAMPLES[kind].name}'" for kind in found)
    say(f"wrote {folder}: {written}")
    say(f'next: pip install -e "{folder}[test]"')
    say(f"      pytest {quote(str(folder))}")
    say(f"      clscli list {found[0]} {name}:{EXAMPLES[found[0]].name}")
