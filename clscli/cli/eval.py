"""`clscli eval`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clscli.cli.console import follow, say, to_json
from clscli.cli.options import Ckpt, Device, Json, Threshold, check_ckpt, complete_split
from clscli.errors import UsageError


def eval_command(
    ckpt: Ckpt,
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR|URL", help="Labelled pictures (default: those that it was trained with)."),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="val, test or train.", autocompletion=complete_split)
    ] = "val",
    device: Device = "auto",
    threshold: Threshold = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write metrics, tables and the confusion matrix there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a checkpoint on labelled pictures: accuracy, a table of the classes, the confusion matrix.

    Of a model that gives several labels: mean average precision, and a table of the classes.
    """
    if split not in ("val", "test", "train"):
        raise UsageError(f"--split {split}: there are val, test and train")
    check_ckpt(ckpt)
    from clscli.engine.evaluate import evaluate
    from clscli.reports.tables import format_evaluation, write_evaluation

    with follow() as observer:
        result = evaluate(ckpt, data=data, split=split, device=device, threshold=threshold, observer=observer)
    for path, reason in result.unreadable:
        say(f"{path}: {reason}")
    document = to_json(result.as_json(), sys.stdout)
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--out {out}: cannot be made: {error.strerror}") from None
        say(f"wrote {write_evaluation(result, document, out)} to {out}")
    typer.echo(document if as_json else format_evaluation(result))
