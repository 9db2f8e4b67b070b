"""The command line. Each command is a thin shell in its own file; nothing here imports torch."""

from __future__ import annotations

from typing import Annotated

import typer

from clscli import __version__
from clscli.cli.data import data_app
from clscli.cli.doctor import doctor_command
from clscli.cli.eval import eval_command
from clscli.cli.init import init_command
from clscli.cli.list import list_command
from clscli.cli.new import new_app
from clscli.cli.plot import plot_app
from clscli.cli.predict import predict_command
from clscli.cli.schema import schema_command
from clscli.cli.train import train_command

_HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="clscli",
    no_args_is_help=True,
    context_settings=_HELP,
    pretty_exceptions_enable=False,  # what is unexpected keeps Python's own traceback
    rich_markup_mode=None,  # plain help is drawn in a fifth of the time, and can be searched
    epilog="First steps: clscli train demo",
)
app.command("init", context_settings=_HELP)(init_command)
app.command("train", context_settings=_HELP)(train_command)
app.command("eval", context_settings=_HELP)(eval_command)
app.command("predict", context_settings=_HELP)(predict_command)
app.command("list", context_settings=_HELP)(list_command)
app.command("doctor", context_settings=_HELP)(doctor_command)
app.command("schema", context_settings=_HELP)(schema_command)
app.add_typer(data_app, name="data", context_settings=_HELP)
app.add_typer(new_app, name="new", context_settings=_HELP)
app.add_typer(plot_app, name="plot", context_settings=_HELP)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clscli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train and use image classifiers: one TOML spec, components by pip install."""
