"""Files for pixels: one that is gone with the run, and one that the next run finds again."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from clscli.cache import cache_directory
from clscli.data.headers import stamp_of
from clscli.data.split import View
from clscli.errors import WriteError
from clscli.files import atomic_write

# Elsewhere than on Linux, a file that several processes open by its path is on a disk.
MEMORY_HAS_FILES = hasattr(os, "memfd_create")

DAYS_UNUSED = 30  # after so many a file on the disk may go


def file_in_memory(num_bytes: int) -> tuple[Path, Callable[[], None]]:
    """Make a file of zeros that other processes can open by its path; return what gives it back, too.

    On Linux it has no name, and is gone with the last process that has it, however that ends. It takes memory
    as it is written to, whatever the size of /dev/shm. Elsewhere it is a temporary file.
    """
    if MEMORY_HAS_FILES:
        handle = os.memfd_create("clscli-pixels")
        os.ftruncate(handle, num_bytes)
        return Path(f"/proc/{os.getpid()}/fd/{handle}"), partial(os.close, handle)
    handle, name = tempfile.mkstemp(prefix="clscli-pixels-")
    os.ftruncate(handle, num_bytes)
    os.close(handle)
    return Path(name), partial(Path(name).unlink, missing_ok=True)


def folder_on_disk() -> Path:
    """Return the folder of the files that stay, and make it. Raises WriteError."""
    folder = cache_directory() / "pixels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


def file_on_disk(view: View, facts: Iterable[object]) -> Path | None:
    """Name the file for these pictures, as they are now, read as `facts` say; None when they are no files."""
    digest = hashlib.blake2b(repr(list(facts)).encode(), digest_size=16)
    is_any = False
    for index in range(len(view)):
        stamp = stamp_of(view.source(index))
        is_any |= stamp != 0
        digest.update(stamp.to_bytes(8, "little", signed=True))
    return folder_on_disk() / f"{digest.hexdigest()}.pixels" if is_any else None


def found_whole(file: Path, num_bytes: int) -> bool:
    """Tell whether a file is there, and as long as it should be; then it counts as used now."""
    if not file.is_file() or file.stat().st_size != num_bytes:
        return False
    os.utime(file)
    return True


def remove_unused() -> list[int]:
    """Remove the files that no run has used for DAYS_UNUSED, unfinished ones as well; return their sizes.

    Each run renews the time of its files when it begins. Should it last longer, its pixels stay all the same: on
    Linux a file that is open has only lost its name, and elsewhere it cannot be removed.
    """
    oldest = time.time() - DAYS_UNUSED * 24 * 60 * 60
    removed = []
    for file in folder_on_disk().glob("*.pixels*"):
        with suppress(OSError):  # another run was first, or it is in use
            status = file.stat()
            if status.st_mtime < oldest:
                file.unlink()
                removed.append(status.st_size)
    return removed


def reserve(file: Path, num_bytes: int) -> None:
    """Make a file of zeros, with its room on the disk taken. Raises WriteError when there is none."""
    with atomic_write(file) as temporary, temporary.open("rb+") as opened:
        if hasattr(os, "posix_fallocate"):  # else a disk that fills up later ends the process without a word
            os.posix_fallocate(opened.fileno(), 0, num_bytes)
        else:
            opened.truncate(num_bytes)
