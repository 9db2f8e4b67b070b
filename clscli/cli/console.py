"""How commands speak: results on stdout, everything else on stderr, bars only where somebody watches."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import typer

from clscli.cli.launch import is_silent
from clscli.reports.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from clscli.observer import Observer


def say(text: str) -> None:
    """Write a line for a person, on stderr."""
    typer.echo("\n".join(printable(line) for line in text.split("\n")), err=True)


def to_json(value: object, stream: IO[str], indent: int | None = None) -> str:
    """Write a value as JSON that the stream can take: as it is in UTF-8, else with escapes."""
    is_unicode = "utf" in (getattr(stream, "encoding", None) or "").lower()
    return json.dumps(value, ensure_ascii=not is_unicode, indent=indent)


@contextmanager
def follow() -> Iterator[Observer]:
    """Show what the engine logs, and a progress bar if stderr is a terminal, while it runs.

    Texts are never read as rich markup: they hold paths, class names and exceptions.
    """
    from clscli.observer import Observer

    if is_silent():
        yield Observer()
        return
    log = logging.getLogger("clscli")
    log.setLevel(logging.INFO)
    if not sys.stderr.isatty():
        with _handler(log, logging.StreamHandler(sys.stderr)):
            yield Observer()
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Bar(Observer):
        """Move a bar from batch to batch, and from MB to MB."""

        is_visible = True

        def __init__(self, progress: Progress) -> None:
            self.progress = progress
            self.task: TaskID | None = None

        def begin(self, what: str, total: int, unit: str = "images") -> None:
            if self.task is not None:
                self.progress.remove_task(self.task)
            self.task = self.progress.add_task(what, total=total, unit=unit)

        def tick(self, amount: int) -> None:
            if self.task is not None:
                self.progress.advance(self.task, amount)

    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)

    class Above(logging.Handler):
        """Print log lines above the bar."""

        def emit(self, record: logging.LogRecord) -> None:
            console.print(self.format(record))

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress, _handler(log, Above()):
        yield Bar(progress)


@contextmanager
def _handler(log: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    handler.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
