"""Files of weights from the network, into torch.hub's cache, where other programs find them too.

What has arrived is kept in a file `.part`: after a cut connection, a full disk or Ctrl-C the next try asks
for the rest only, if there is a SHA-256 to tell that both halves are of the same file.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import urllib.error
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch

from clscli.errors import CheckpointError, WriteError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("clscli")

# How long a server may say nothing.
TIMEOUT_SECONDS = 30.0
_CHUNK = 1 << 18
_MB = 1_000_000


class Progress(Protocol):
    """Whoever wants to watch a download."""

    def begin(self, what: str, total: int, unit: str, /) -> None:
        """Take note that something of `total` units begins."""

    def tick(self, amount: int, /) -> None:
        """Take note of what has arrived."""


def download(urls: Sequence[str], sha256: str = "", progress: Progress | None = None) -> Path:
    """Return a file of the cache, fetched from the first of the URLs that has it unless it is there already.

    `sha256` are its first digits; without them those in the file's name count, as torch.hub names its files.
    Raises CheckpointError when no URL has the file, WriteError when the disk does not take it.
    """
    sha256 = sha256 or digest_in(urls[0])
    target = cached_file(urls[0], sha256)
    if target.is_file():
        return target
    part = target.with_name(target.name + ".part")
    with _open_part(part) as file:
        _wait_for_others(file)
        if not target.is_file():  # nobody else has fetched it meanwhile
            _fetch_from_any(urls, file, sha256, target, progress)
            if fcntl is None:
                file.close()  # Windows renames no open file
            part.replace(target)
    part.unlink(missing_ok=True)  # of a process that waited
    return target


def cached_file(url: str, sha256: str) -> Path:
    """Name the file of the cache, so that no two files share a name, and torch.hub's keep theirs."""
    name = Path(urlsplit(url).path).name or "weights"
    if not (sha256 and digest_in(name).startswith(sha256[:8])):
        mark = f"-{sha256[:8]}" if sha256 else f".{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        name = Path(name).stem + mark + Path(name).suffix
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def digest_in(url: str) -> str:
    """Find the digits of the SHA-256 in a name such as `resnet18-f37072fd.pth`; empty without them."""
    found = re.search(r"-([0-9a-f]{8,64})\.[^/]*$", urlsplit(url).path)
    return found.group(1) if found else ""


class _NoFileError(Exception):
    """Why a URL does not give the file."""


def _open_part(part: Path) -> FileIO:
    """Open what has arrived so far, unbuffered: what is written is there whatever happens next."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(part, "a+")
    except OSError as error:
        raise WriteError(f"{part}: cannot be written: {error.strerror}") from error
    file.seek(0, os.SEEK_END)
    return file


def _wait_for_others(file: FileIO) -> None:
    """Let one process at a time fetch a file; where there are no locks, the SHA-256 finds a mixture."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)


def _fetch_from_any(
    urls: Sequence[str], file: FileIO, sha256: str, target: Path, progress: Progress | None
) -> None:
    reasons = []
    for url in urls:
        try:
            _fetch(url, file, sha256, progress)
            os.fsync(file.fileno())
            return
        except _NoFileError as error:
            reasons.append(f"{url}: cannot be downloaded: {error}")
    raise CheckpointError(f"{'; '.join(reasons)} -- without a network, put the file at {target}")


def _fetch(url: str, file: FileIO, sha256: str, progress: Progress | None) -> None:
    """Complete the file from a URL and check it; a resumed one that is wrong is fetched once more, whole."""
    if not sha256:
        _empty(file)
    is_resumed = file.tell() > 0
    _complete(url, file, bool(sha256), progress)
    found = _digest(file)
    if not found.startswith(sha256) and is_resumed:
        log.info("%s: what was there is not of this file, fetching all of it", url)
        _empty(file)
        _complete(url, file, True, progress)
        found = _digest(file)
    if not found.startswith(sha256):
        _empty(file)
        raise _NoFileError(f"its SHA-256 begins with {found[: len(sha256)]}, not with {sha256}")


def _complete(url: str, file: FileIO, may_resume: bool, progress: Progress | None) -> None:
    """Ask for the rest of the file until it is whole, as long as every answer brings some of it."""
    while True:
        before = file.tell()
        if _receive(url, file, progress):
            return
        if file.tell() <= before or not may_resume:
            raise _NoFileError(f"the connection was cut after {file.tell() / _MB:.1f} MB")
        log.info("%s: the connection was cut, going on", url)


def _receive(url: str, file: FileIO, progress: Progress | None) -> bool:
    """Append what one answer brings, and tell whether the file is whole."""
    with _ask(url, file.tell()) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            _empty(file)  # the server sends all of it, whatever was asked
        length = response.headers.get("Content-Length")
        size = file.tell() + int(length) if length is not None else None
        _announce(url, file.tell(), size, progress)
        try:
            while chunk := response.read1(_CHUNK):
                before = file.tell()
                _write(file, chunk)
                if progress is not None and size is not None:
                    progress.tick(file.tell() // _MB - before // _MB)
        except (OSError, http.client.HTTPException):  # the network's: the disk's is a WriteError
            return False
        return size is None or file.tell() == size


def _ask(url: str, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "clscli"} | ({"Range": f"bytes={start}-"} if start else {})
    if urlsplit(url).scheme not in ("http", "https"):
        raise _NoFileError("not a URL of http, https or file")
    try:
        response: http.client.HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # more is here than there
            return _ask(url, 0)
        raise _NoFileError(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _NoFileError(str(getattr(error, "reason", error) or type(error).__name__)) from error


def _announce(url: str, here: int, size: int | None, progress: Progress | None) -> None:
    if size is None:
        log.info("downloading %s", url)
        return
    rest = f" ({here / _MB:.1f} MB are here)" if here else ""
    log.info("downloading %s, %.1f MB%s", url, size / _MB, rest)
    if progress is not None:
        progress.begin(f"downloading {Path(urlsplit(url).path).name}", size // _MB, "MB")
        progress.tick(here // _MB)


def _write(file: FileIO, chunk: bytes) -> None:
    try:
        while chunk:  # a disk that is nearly full takes a piece
            chunk = chunk[file.write(chunk) :]
    except OSError as error:
        raise WriteError(
            f"{file.name!s}: cannot be written: {error.strerror} "
            "-- what has arrived is kept, and the next try goes on from there"
        ) from error


def _empty(file: FileIO) -> None:
    file.truncate(0)
    file.seek(0)


def _digest(file: FileIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()
