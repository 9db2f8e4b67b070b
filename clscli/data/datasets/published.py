"""What all published sets share: where they lie, which of their parts is which split, how they are fetched."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from clscli.cache import cache_directory
from clscli.errors import DataError, describe

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("clscli")

Found = TypeVar("Found")
Opener = TypeVar("Opener", bound=Callable[..., object])

# The parts of most sets: as a spec may name them, and by the splits that they stand for.
TrainTest = Literal["train", "test"]
TrainValTest = Literal["train", "val", "test"]
TRAIN_TEST = {"train": "train", "test": "test"}
TRAIN_VAL_TEST = {"train": "train", "val": "val", "test": "test"}


def part_of(name: str, split: str, part: str | None, parts: Mapping[str, str]) -> str:
    """Return the set's own name of what is asked for: `part` as the user says, else that of the split.

    `parts` maps splits to the set's names. Raises ValueError when it has nothing for the split.
    """
    if part is not None:
        return part
    if split not in parts:
        there = " and ".join(f"'{known}'" for known in parts)
        advice = {
            "val": "leave data.val out and a fraction of the training pictures is taken",
            "test": "leave data.test out",
        }.get(split, "leave it out")
        if len(parts) > 1:
            advice += f', or say which to take: part = "{list(parts.values())[-1]}"'
        raise ValueError(f"{name} has no split '{split}', only {there} -- {advice}")
    return parts[split]


def has_val(open_set: Opener) -> Opener:
    """Mark a set that has pictures for validation of its own: they are used where a spec leaves `data.val` out.

    Unless it says which `part` to read.
    """
    open_set.divides_itself = True  # type: ignore[attr-defined]
    return open_set


def folder_of(name: str, root: Path | None) -> Path:
    """Return the folder that a set lies in, or is to be downloaded to."""
    return root if root is not None else cache_directory() / "datasets" / name


def fetch(name: str, folder: Path, files: str, download: bool, open_set: Callable[[bool], Found]) -> Found:
    """Open a set from its folder; where it is not there, download it, one process at a time.

    `open_set(download)` opens it, and `files` says what it needs below the folder. Raises DataError that says
    what to put where.
    """
    try:
        with _quiet():
            return open_set(False)
    except DataError:  # in words already: something is there, and damaged
        raise
    except Exception as error:  # as many kinds as sets: RuntimeError, FileNotFoundError, ...
        _refuse_missing_package(name, error)
        absent = " ".join(str(error).split())
    needs = f"{folder} must hold {files}"
    if not download:
        raise DataError(f"{name} is not in {folder}, and download = false: {absent} -- {needs}")
    log.info("downloading %s to %s", name, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder), _quiet():
            try:
                return open_set(False)  # another process may have been first
            except Exception:
                return open_set(True)
    except DataError:
        raise
    except Exception as error:  # of the network, the server, the archive or the disk
        _refuse_missing_package(name, error)
        raise DataError(
            f"{name} is not in {folder} and cannot be downloaded: {describe(error)} -- without a network, {needs}"
        ) from None


def _refuse_missing_package(name: str, error: Exception) -> None:
    """Name the package that a set's own format needs; torchvision tells of some by a RuntimeError."""
    text = str(error).lower()
    package = next((known for known in ("scipy", "gdown", "h5py") if known in text), None)
    if isinstance(error, ImportError):
        package = package or error.name
    elif "pip install" not in text:
        package = None
    if package:
        raise DataError(f"{name} needs a package that is not installed -- pip install {package}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what torchvision prints to stderr: stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write into a folder, where the file system has locks."""
    with (folder / ".lock").open("w") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def torchvision_set(name: str, class_name: str, folder: Path, files: str, download: bool, **arguments: Any) -> Any:
    """Open one of torchvision's data sets, which brings its download along."""

    def open_set(download: bool) -> Any:
        from torchvision import datasets  # here: it costs as much as torch itself

        return getattr(datasets, class_name)(folder, download=download, **arguments)

    return fetch(name, folder, files, download, open_set)


def torchvision_files(
    name: str, class_name: str, folder: Path, files: Sequence[str], download: bool, **arguments: Any
) -> None:
    """Let torchvision download a set where one of its files or folders is missing, and not read it otherwise.

    For sets so large that its lists of them would take gigabytes.
    """

    def complete(download: bool) -> None:
        if not (absent := _absent(folder, files)):
            return
        if not download:
            raise FileNotFoundError(absent)
        from torchvision import datasets

        getattr(datasets, class_name)(folder, download=True, **arguments)
        complete(False)

    fetch(name, folder, _all_of(files), download, complete)


def refuse_missing(name: str, folder: Path, files: Sequence[str], source: str) -> None:
    """Raise DataError where a file or folder is missing of a set that no program can download."""
    if absent := _absent(folder, files):
        raise DataError(
            f"{name} is not in {folder}: {absent} -- get it by hand from {source}; {folder} must hold "
            f"{_all_of(files)}"
        )


def numbered(path: Path, *, counts: bool = False) -> Iterator[tuple[str, int]]:
    """Yield the lines of a list, a name and a number each; with `counts`, numbers alone are passed over.

    Raises DataError for any other line.
    """
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line_number, line in enumerate(file, 1):
            fields = line.split()
            if counts and len(fields) == 1 and fields[0].isdecimal():
                continue
            if len(fields) != 2 or not fields[1].isdecimal():
                found = line.strip()
                raise DataError(f"{path}: line {line_number}: must be a name and a number, not {found!r}")
            yield fields[0], int(fields[1])


def _absent(folder: Path, files: Sequence[str]) -> str:
    return next((f"no {file}" for file in files if not (folder / file).exists()), "")


def _all_of(files: Sequence[str]) -> str:
    return " and ".join([", ".join(files[:-1]), files[-1]] if files[1:] else files)
