"""The directory of a run: what is in it, and how it is written."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import importlib_metadata
import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from clscli.data.catalog import MANIFEST, TrainingData
from clscli.data.readable import SKIPPED, write_skipped
from clscli.data.split import write_manifest
from clscli.engine.checkpoint import component_versions
from clscli.errors import UsageError, WriteError
from clscli.files import atomic_write
from clscli.spec import ResolvedSpec, render_spec

log = logging.getLogger("clscli")


@dataclass(frozen=True)
class RunDirectory:
    """Names for the files of a run."""

    path: Path

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch: all that eval and predict need."""
        return self.path / "best.pth"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "last.pth"

    @property
    def metrics(self) -> Path:
        """One JSON object a line, one line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """Loss and accuracy over the epochs, drawn."""
        return self.path / "curves.png"

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the finished epochs."""
        if not self.metrics.is_file():
            return []
        rows = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # the last line of a killed run may be cut short
                continue
        return [row for row in rows if isinstance(row, dict) and isinstance(row.get("epoch"), int)]

    def keep_metrics(self, num_epochs: int, validated_step: int = 0) -> None:
        """Forget lines of later than a checkpoint: a run that was killed may have logged one too many.

        That is all but the first `num_epochs` epochs, and validations in the next one up to `validated_step`.
        """
        rows = self.read_metrics()
        kept = [row for row in rows if row["epoch"] <= num_epochs or row["step"] <= validated_step]
        self.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch."""
        with _disk_errors(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def write(self, name: str, text: str) -> None:
        """Write a small text file atomically."""
        with atomic_write(self.path / name) as temporary:
            # A path may hold bytes that are no text; the record of it must not stop the run.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """While entered, no other process may write to this run; the system lets go of it at a kill, too.

        Raises UsageError when another process is at it. Without such locks (Windows), it does nothing.
        """
        if fcntl is None:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UsageError(f"{self.path}: another process is training in this run directory") from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """While entered, everything that clscli logs is also written to `train.log`."""
        with _disk_errors(self.path / "train.log"):
            handler = logging.FileHandler(self.path / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
        handler.setLevel(logging.INFO)
        log.addHandler(handler)
        level = log.level
        if not log.isEnabledFor(logging.INFO):  # called from Python, where nobody has asked to see anything
            log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.setLevel(level)
            log.removeHandler(handler)
            handler.close()


def create_run(name: str, out: Path | None) -> RunDirectory:
    """Make a run directory: `out`, which must be new or empty, or `runs/<name>`, numbered if that exists.

    Raises UsageError when it cannot be made.
    """
    try:
        if out is not None:
            refuse_used(out)  # once more: another run may have begun there meanwhile
            out.mkdir(parents=True, exist_ok=True)
            return RunDirectory(out)
        number = 1
        while True:
            path = Path("runs") / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir(parents=True)
                return RunDirectory(path)
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UsageError(f"{out or 'runs'}: cannot make a run directory: {error.strerror}") from None


def refuse_used(out: Path) -> None:
    """Raise UsageError when `--out` names a folder that holds something."""
    if out.is_dir() and any(out.iterdir()):
        resume = f", or go on with: clscli train --resume {quote(str(out))}"
        has_last = RunDirectory(out).last.exists()
        raise UsageError(f"--out {out}: is not empty -- choose another folder{resume * has_last}")


def write_records(run: RunDirectory, spec: ResolvedSpec, data: TrainingData, device: torch.device) -> None:
    """Write what makes a run repeatable: resolved spec, environment, how pictures are split, what is left out."""
    run.write("spec.toml", render_spec(spec.values))
    run.write("env.json", json.dumps(environment(spec, device), indent=2) + "\n")
    if data.parts is not None:
        with atomic_write(run.path / MANIFEST) as temporary:
            write_manifest(temporary, data.train.dataset, data.parts)
    if spec.spec.data.on_bad_image == "skip":
        with atomic_write(run.path / SKIPPED) as temporary:
            write_skipped(temporary, data.skipped)


def environment(spec: ResolvedSpec, device: torch.device) -> dict[str, Any]:
    """Describe where a run takes place."""
    cuda = device.type == "cuda"
    return {
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **component_versions(spec), **_versions_of_libraries()},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "git": _git_revision(),
    }


def _versions_of_libraries() -> dict[str, str]:
    """Return the versions of what pictures are read and changed with: the numbers depend on them, too."""
    return {name: importlib_metadata.version(name) for name in ("torchvision", "numpy", "pillow")}


def _git_revision() -> str | None:
    """Return the revision of the repository that the working directory is in, if it is in one."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
