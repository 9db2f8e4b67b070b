"""`clscli plot`: curves as pictures, and in the terminal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clscli.cli.console import follow, say
from clscli.cli.options import Data, Png, Sets, Unsets, check_png, complete_preset
from clscli.errors import UsageError

if TYPE_CHECKING:
    from clscli.engine.schedules.preview import Preview
    from clscli.spec import ResolvedSpec

plot_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # as for all of clscli
    help="Draw a spec's schedule, or the metrics of a run.",
)


@plot_app.command("schedule")
def schedule_command(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC", help="A TOML file, or the name of a preset.", autocompletion=complete_preset
        ),
    ],
    data: Data = None,
    sets: Sets = None,
    unsets: Unsets = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Do not look for the pictures: take so many steps.")
    ] = None,
    out: Png = None,
) -> None:
    """Draw learning rate and momentum of a run to come.

    In the terminal, and to FILE.png, by default the spec's name with -schedule.png in the working directory.
    """
    from clscli.spec import spec_name

    path = check_png(out if out is not None else Path(f"{spec_name(spec)}-schedule.png"))
    resolved = _resolve(spec, data, sets or [], unsets or [], has_steps=steps_per_epoch is not None)
    from clscli.engine.schedules.preview import preview_schedule
    from clscli.reports.plots import draw_schedule

    with follow():
        preview = preview_schedule(resolved, steps_per_epoch or _count_steps(resolved))
    typer.echo(_as_text(preview))
    draw_schedule(preview, path)
    if preview.observing:
        say(f"note: drawn as if no validation lowered the rate, which {preview.scheduler} waits for")
    say(f"wrote {path}")


@plot_app.command("metrics")
def metrics_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run, such as runs/spec.")],
    out: Png = None,
) -> None:
    """Draw loss and top-1 of a run so far.

    To FILE.png, by default curves.png in the working directory.
    """
    path = check_png(out if out is not None else Path("curves.png"))
    if not (run / "metrics.jsonl").is_file():
        raise UsageError(f"{run}: is no run directory: there is no {run / 'metrics.jsonl'}")
    from clscli.engine.run_directory import RunDirectory
    from clscli.reports.plots import draw_curves
    from clscli.spec import read_draft

    rows = RunDirectory(run).read_metrics()
    if not rows:
        raise UsageError(f"{run}: has not finished an epoch yet")
    monitor = read_draft(run / "spec.toml").get(("train", "monitor"))
    draw_curves(rows, path, monitor=monitor)
    say(f"wrote {path}")


def _resolve(
    source: str, data: str | None, sets: list[str], unsets: list[str], *, has_steps: bool
) -> ResolvedSpec:
    """Read a spec as for training; its pictures need not be named when their number does not matter."""
    from clscli.spec import check_structure, read_training_draft, resolve

    draft = read_training_draft(source, data=data, sets=sets, unsets=unsets)
    if has_steps and not (draft.get(("data", "root")) or draft.get(("data", "train"))):
        draft = read_training_draft(source, data=Path(), sets=sets, unsets=unsets)
    return resolve(draft, check_structure(draft))


def _count_steps(spec: ResolvedSpec) -> int:
    """Count the optimizer steps of an epoch over the pictures that the spec names."""
    from clscli.data.catalog import open_training_data
    from clscli.data.order import num_batches
    from clscli.data.samplers import build_sampler
    from clscli.engine.accumulation import steps_per_epoch

    batch_size = spec.spec.data.batch_size
    if batch_size == "auto":
        raise spec.error(("data", "batch_size"), "is found when training starts -- give --steps-per-epoch")
    batches = num_batches(len(build_sampler(spec, open_training_data(spec).train)), batch_size)
    return steps_per_epoch(batches, spec.spec.train)


def _as_text(preview: Preview) -> str:
    """Draw a preview as wide as the terminal, and list its learning rates."""
    from clscli.reports.chart import line_chart
    from clscli.reports.text import format_table

    width, encoding = shutil.get_terminal_size().columns, sys.stdout.encoding or "ascii"
    ends = "0", f"{preview.num_steps / preview.steps_per_epoch:g} epochs of {preview.steps_per_epoch} steps"
    rates = [curve.rates for curve in preview.curves]
    title = f"learning rate, {preview.scheduler}"
    parts = [line_chart(title, rates, ends, low=0.0, width=width, encoding=encoding)]
    if preview.momentum is not None:
        parts.append(line_chart("momentum", [preview.momentum], ends, width=width, height=6, encoding=encoding))
    rows = [
        (f"{curve.parameters:,}", *(f"{x:.3g}" for x in (curve.rates[0], max(curve.rates), curve.rates[-1])))
        for curve in preview.curves
    ]
    parts.append(format_table(("parameters", "first rate", "highest", "last"), rows, right=(0, 1, 2, 3)))
    return "\n\n".join(parts)
