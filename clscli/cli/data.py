"""`clscli data`: the pictures of a spec, checked and shown."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clscli.cli.console import follow, say, to_json
from clscli.cli.options import Data, Json, Png, Sets, Unsets, check_png, complete_preset
from clscli.errors import UsageError

if TYPE_CHECKING:
    from clscli.spec import ResolvedSpec

Source = Annotated[
    str,
    typer.Argument(
        metavar="DIR|URL|SPEC",
        help="A folder of pictures, here or at a URL, a TOML file, or the name of a preset.",
        autocompletion=complete_preset,
    ),
]

data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # as for all of clscli
    help="Check the pictures of a spec, or show what its transforms make of them.",
)


@data_app.command("check")
def check_command(
    source: Source,
    data: Data = None,
    sets: Sets = None,
    unsets: Unsets = None,
    as_json: Json = False,
) -> None:
    """Read every picture, and say what would stop a training, or spoil it.

    Counts, sizes, formats, unreadable files, and pictures that are there twice: in several splits, in several
    classes. The exit code is 1 when a training would stop.
    """
    spec = _resolve(source, data, sets or [], unsets or [])
    from clscli.data.check import check_data
    from clscli.reports.data_check import as_json as report_as_json
    from clscli.reports.data_check import format_report

    with follow() as observer:
        report = check_data(spec, observer)
    if as_json:
        typer.echo(to_json(report_as_json(report), sys.stdout))
    else:
        width = shutil.get_terminal_size().columns
        typer.echo(format_report(report, width=width, encoding=sys.stdout.encoding or "ascii"))
    if report.problems:
        raise typer.Exit(1)


@data_app.command("show")
def show_command(
    source: Source,
    data: Data = None,
    sets: Sets = None,
    unsets: Unsets = None,
    split: Annotated[
        Literal["train", "val"], typer.Option(help="Which pictures, and so which transforms.")
    ] = "train",
    num: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=200, help="How many (default: 16; with --steps, 8).")
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show what each transform makes of them.")] = False,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Draw as with this seed.")] = None,
    out: Png = None,
) -> None:
    """Draw pictures next to what the transforms make of them: the first ones of a training's first epoch.

    To FILE.png, by default the spec's name with -samples.png in the working directory.
    """
    from clscli.spec import spec_name

    name = spec_name(source.rpartition("::")[2])  # of an archive's URL, which would be no name for a file
    path = check_png(out if out is not None else Path(f"{name}-samples.png"))
    seeds = [] if seed is None else [f"seed={seed}"]
    spec = _resolve(source, data, [*(sets or []), *seeds], unsets or [])
    from clscli.data.preview import preview
    from clscli.reports.contact_sheet import draw_pairs, draw_steps

    with follow():
        found = preview(spec, split, num or (8 if steps else 16), steps=steps)
    for strip in found.strips:
        if strip.reason:
            say(f"{strip.name}: {strip.reason}")
    (draw_steps if steps else draw_pairs)(found, path)
    say(f"wrote {path}")


def _resolve(source: str, data: str | None, sets: list[str], unsets: list[str]) -> ResolvedSpec:
    """Read a spec as for training; a folder stands for the spec that names it alone."""
    from clscli.locations import is_url
    from clscli.spec import check_structure, read_training_draft, resolve

    if not (is_url(source) or Path(source).is_dir()):
        draft = read_training_draft(source, data=data, sets=sets, unsets=unsets)
    elif data is None:
        draft = read_training_draft({}, data=source, sets=sets, unsets=unsets)
    else:
        raise UsageError(f"{source}: is a folder, and --data {data} another -- give one of them")
    return resolve(draft, check_structure(draft))
