"""Writing files so that nobody ever finds half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clscli.errors import WriteError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces `path` once it is whole and on the disk.

    A link is followed; a device or a pipe, which cannot be replaced, is given as it is. Raises WriteError
    when the disk does not take it; `path` is untouched then.
    """
    if path.is_dir():
        raise WriteError(f"{path}: is a folder, not a file to write to")
    if (path.exists() and not path.is_file()) or path.is_relative_to("/dev"):
        yield path
        return
    target = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner may read
        temporary.replace(target)
    except OSError as error:
        kept = f" -- the previous {path.name} is untouched" if path.exists() else ""
        raise WriteError(f"{path}: cannot be written: {error.strerror}{kept}") from error
    finally:
        temporary.unlink(missing_ok=True)
