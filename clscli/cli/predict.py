"""`clscli predict`."""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import typer

from clscli.cli.console import say, to_json
from clscli.cli.options import Ckpt, Device, Threshold, check_ckpt
from clscli.errors import UsageError
from clscli.reports.text import printable

if TYPE_CHECKING:
    from clscli.engine.predict import Prediction

Format = Literal["table", "csv", "json", "jsonl"]


def predict_command(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|DIR|GLOB|-...", help="Pictures; '-' reads one path a line from stdin."),
    ],
    ckpt: Ckpt,
    topk: Annotated[
        int | None, typer.Option(min=1, help="How many classes to show of each picture (default: 5).")
    ] = None,
    threshold: Threshold = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the predictions.")] = "table",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of to stdout.")] = None,
    device: Device = "auto",
) -> None:
    """Predict the classes of pictures, with nothing but a checkpoint.

    A picture that cannot be read is named on stderr, the others are predicted, and the exit code is 1.
    """
    check_ckpt(ckpt)
    paths = find_pictures(images)
    from clscli.engine.predict import load

    predictor = load(ckpt, device=device)
    failed = 0
    with _open(out) as file:
        write = {"table": _write_table, "csv": _write_csv, "json": _write_json, "jsonl": _write_jsonl}[form]

        def readable() -> Iterator[Prediction]:
            nonlocal failed
            for prediction in predictor.stream(paths, topk, threshold=threshold):
                if prediction.error is not None:
                    failed += 1
                    say(f"{printable(prediction.path)}: {prediction.error}")  # one line, whatever the name
                if prediction.error is None or form in ("json", "jsonl"):
                    yield prediction

        write(file, readable())
    if failed:
        raise typer.Exit(1)


def find_pictures(arguments: Iterable[str]) -> Iterator[str]:
    """Turn files, folders, globs and `-` into paths, in order; a folder is searched for pictures to any depth.

    Raises UsageError for a folder without pictures and for a glob that matches nothing, before anything else
    is done. A file that does not exist is left for the reader to report, as the others are still wanted.
    """
    sources = [_from_stdin() if argument == "-" else _expand(argument) for argument in arguments]
    return (path for source in sources for path in source)


def _from_stdin() -> Iterator[str]:
    if sys.stdin is None:
        raise UsageError("-: there is no standard input to read paths from")
    lines = (line.strip("\r\n\ufeff") for line in sys.stdin)
    named = (line for line in lines if line.strip())
    return (path for name in named for path in (_in_folder(name) if Path(name).is_dir() else [name]))


def _expand(argument: str) -> list[str]:
    if Path(argument).is_dir():
        return _in_folder(argument)
    if glob.has_magic(argument) and not Path(argument).exists():
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 -- takes absolute patterns too
        if not matches:
            raise UsageError(f"{argument}: matches no file")
        return [path for match in matches for path in (_in_folder(match) if Path(match).is_dir() else [match])]
    return [argument]


def _in_folder(folder: str) -> list[str]:
    from clscli.data.decode import extensions

    def hidden(path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(folder).parts)

    found = (p for p in Path(folder).rglob("*") if p.suffix.lower() in extensions() and not hidden(p))
    paths = sorted(str(path) for path in found if path.is_file())
    if not paths:
        raise UsageError(f"{folder}: no pictures in this folder")
    return paths


@contextlib.contextmanager
def _open(out: Path | None) -> Iterator[IO[str]]:
    """Open the output; a file is complete when it appears under its name."""
    if out is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(newline="")  # the csv module writes its own line ends
        yield sys.stdout
        return
    from clscli.files import atomic_write

    with (
        atomic_write(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file


def _write_table(file: IO[str], predictions: Iterable[Prediction]) -> None:
    for prediction in predictions:
        scores = "  ".join(f"{printable(s.name)} {100 * s.score:.1f} %" for s in prediction.scores)
        print(f"{printable(prediction.path)}  {scores or '(no class)'}", file=file, flush=True)


def _write_csv(file: IO[str], predictions: Iterable[Prediction]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("path", "rank", "class", "score"))
    for prediction in predictions:
        for rank, score in enumerate(prediction.scores, start=1):
            writer.writerow((prediction.path, rank, score.name, score.score))
        if not prediction.scores:  # of several labels none
            writer.writerow((prediction.path, "", "", ""))
        file.flush()


def _write_json(file: IO[str], predictions: Iterable[Prediction]) -> None:
    rows = [prediction.as_json() for prediction in predictions]
    print(to_json(rows, file, indent=1), file=file)


def _write_jsonl(file: IO[str], predictions: Iterable[Prediction]) -> None:
    for prediction in predictions:
        print(to_json(prediction.as_json(), file), file=file, flush=True)
