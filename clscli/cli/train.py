"""`clscli train`."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from clscli.cli.console import follow, say, to_json
from clscli.cli.launch import is_silent, launch, wants_launch
from clscli.cli.options import Device, Json, Sets, Unsets, complete_preset
from clscli.engine.monitor import main_metric
from clscli.errors import UsageError

if TYPE_CHECKING:
    from clscli.engine.trainer import TrainResult


def train_command(
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="SPEC", help="A TOML file, or the name of a preset.", autocompletion=complete_preset
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|URL",
            help="Pictures to use, for data.root; with --resume, where they are now.",
        ),
    ] = None,
    device: Device = "auto",
    sets: Sets = None,
    unsets: Unsets = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run directory (default: runs/<spec name>).")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run directory or its last.pth.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the resolved spec, the model and the data; do not train.")
    ] = False,
    devices: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Train in N processes, on N GPUs or on the CPU.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model as a spec says.

    The shortest spec is a file with: [data] root = "photos", where photos/train/cat/1.jpg is a picture.
    A setting is changed by --set optimizer.lr=0.01, and --dry-run shows all of them. The presets are
    listed by: clscli list presets.
    """
    if resume is not None:
        given = {"SPEC": spec, "--set": sets, "--unset": unsets, "--out": out}
        extra = [name for name, value in given.items() if value] + ["--dry-run"] * dry_run
        if extra:
            raise UsageError(f"--resume takes everything from the run: remove {', '.join(extra)}")
        _check_resumable(resume)
        if wants_launch(devices):
            launch(devices, device)
            return
        from clscli.engine.trainer import resume as resume_run

        with follow() as observer:
            result = resume_run(resume, data=data, device=device, observer=observer)
        _report(result, as_json)
        return
    if spec is None and data is None:
        raise UsageError(
            "which spec? -- clscli train spec.toml, or clscli train demo, or clscli train --data photos"
        )
    source: str | dict[str, object] = spec if spec is not None else {}
    if not is_silent():
        _check_names(source, sets or [], unsets or [], data)
    elif dry_run:
        return
    if dry_run:
        from clscli.cli.dry_run import show_dry_run

        with follow():
            show_dry_run(source, data, sets or [], unsets or [], device, as_json)
        return
    if wants_launch(devices):
        launch(devices, device)
        return
    from clscli.engine.trainer import train

    with follow() as observer:
        result = train(
            source, data=data, device=device, sets=sets or [], unsets=unsets or [], out=out, observer=observer
        )
    _report(result, as_json)


def _check_names(source: str | dict[str, object], sets: list[str], unsets: list[str], data: str | None) -> None:
    """Find mistakes in keys, types and names first: this takes no torch, and so no second."""
    from clscli.spec import read_training_draft
    from clscli.spec.check import check_structure

    check_structure(read_training_draft(source, data=data, sets=sets, unsets=unsets))


def _check_resumable(path: Path) -> None:
    file = path / "last.pth" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"--resume {path}: there is no {file} to go on with")


def _report(result: TrainResult, as_json: bool) -> None:
    if is_silent():
        return
    if as_json:
        typer.echo(to_json(result.as_json(), sys.stdout))
        return
    best = result.best
    say("")
    main = main_metric(best)
    metric = "" if result.monitor == main else f"best {result.monitor} {best[result.monitor]:.4f}, with "
    shown = f"{metric or 'best '}{'top-1' if main == 'top1' else 'mAP'} {100 * best[main]:.2f} %"
    say(f"{shown} in epoch {best['epoch']}, saved as {result.checkpoint}")
    say(f"run directory: {result.run}")
    say(f"next: clscli predict IMAGE --ckpt {quote(str(result.checkpoint))}")
