"""What clscli raises on purpose: each is one message for the user, never a traceback.

ClscliError                exit 1
+-- UsageError             exit 2   the command line asks for what cannot be
+-- SpecError              exit 2   problems in a spec, all of them at once
+-- UnknownComponentError  exit 2   a name that no installed package offers
|   +-- MissingPackageError exit 2  a component of a package that is not installed
+-- PluginError            exit 1   an installed component cannot be imported, called or trusted
+-- DataError              exit 1   pictures that are missing or cannot be read
+-- CheckpointError        exit 1   a checkpoint that cannot be read or used here
+-- WriteError             exit 1   a file that cannot be written, for want of space or of permission
+-- TrainingError          exit 1   a run that cannot go on
+-- Interrupted            exit 130 Ctrl-C or SIGTERM, after saving
+-- EndedElsewhere         exit 0   one of several processes ends, as another one of them says why
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ClscliError(Exception):
    """Base of everything that clscli raises for a user to read."""

    exit_code: ClassVar[int] = 1


class UsageError(ClscliError):
    """The command line, or the arguments of a call, ask for what cannot be."""

    exit_code = 2


class SpecError(ClscliError):
    """A spec has problems; `problems` holds one finished line for each, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class UnknownComponentError(ClscliError):
    """No installed package offers a component of this name, or several do."""

    exit_code = 2


class MissingPackageError(UnknownComponentError):
    """A component is named after a package, `dist`, that is not installed."""

    def __init__(self, message: str, dist: str) -> None:
        super().__init__(message)
        self.dist = dist


class PluginError(ClscliError):
    """An installed component cannot be imported, does not fit, or breaks its contract."""


class DataError(ClscliError):
    """Pictures are missing, unreadable or do not fit the model's classes."""


class CheckpointError(ClscliError):
    """A checkpoint cannot be read, or used with what is installed here."""


class WriteError(ClscliError):
    """A file cannot be written; what was there before is untouched."""


class TrainingError(ClscliError):
    """A run cannot go on."""


class Interrupted(ClscliError):  # noqa: N818 -- the user's wish, not an error
    """Ctrl-C or SIGTERM, after the run was saved."""

    exit_code = 130


class EndedElsewhere(ClscliError):  # noqa: N818 -- no error of this process
    """Another process of the run has failed or was interrupted, and has said so; this one ends in silence.

    With exit code 0, unless another is given, so that a launcher passes on the code of the one that speaks.
    """

    exit_code = 0

    def __init__(self, exit_code: int = 0) -> None:
        super().__init__("another process of the run has ended")
        self.exit_code = exit_code  # type: ignore[misc]  # a ClassVar of the others


def describe(error: BaseException) -> str:
    """Put an exception of someone else's on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # one that cannot even be shown
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
