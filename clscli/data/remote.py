"""Files that are not on a local disk: URLs of whatever fsspec knows, as `s3://`, `gs://`, `http://`, `zip://`.

Whoever takes a path asks `is_url` first: a local one takes the ordinary way and never imports fsspec.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from clscli.errors import DataError, describe
from clscli.locations import is_url

# Which package serves a protocol, by the name that pip knows.
_PACKAGES = {
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "adl", "az"), "adlfs"),
    **dict.fromkeys(("oss",), "ossfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **dict.fromkeys(("smb",), "smbprotocol"),
    **dict.fromkeys(("hf",), "huggingface_hub"),
    **dict.fromkeys(("hdfs", "arrow_hdfs"), "pyarrow"),
}


class Span(NamedTuple):
    """What lies in a remote file from byte `start` up to `end`: a member of an archive, read without the rest."""

    url: str
    start: int
    end: int


def join(root: str, name: str) -> str:
    """Return the path or URL of what is called `name` below `root`; one that stands alone stays as it is.

    In a chain such as `zip://photos::s3://bucket/a.zip` the name belongs to the first link.
    """
    if is_url(name):
        return name
    if not is_url(root):
        return str(Path(root, name))
    first, chain, rest = root.partition("::")
    slash = "" if first.endswith("/") else "/"
    return f"{first}{slash}{name.lstrip('/')}{chain}{rest}"


def parent(path: str) -> str:
    """Return the folder of a file, local or not."""
    if not is_url(path):
        return str(Path(path).parent)
    first, chain, rest = path.partition("::")
    protocol, separator, inside = first.partition("://")
    return f"{protocol}{separator}{inside.rpartition('/')[0]}{chain}{rest}"


def open_binary(path: str) -> IO[bytes]:
    """Open a file for reading, local or not. Raises DataError when it cannot be opened."""
    try:
        if not is_url(path):
            return Path(path).open("rb")
        filesystem, inside = locate(path)
        return cast("IO[bytes]", filesystem.open(inside, "rb"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a file") from None
    except DataError:
        raise
    except Exception as error:  # each protocol's package raises its own
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or describe(error)}") from None


def read_bytes(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """Read a remote file, or what lies from byte `start` up to `end`; errors are those of the file system."""
    filesystem, inside = locate(url)
    return cast("bytes", filesystem.cat_file(inside, start=start, end=end))


def is_far(source: object) -> bool:
    """Tell whether a sample's source is fetched over a network, which answers many requests at once."""
    url = source.url if isinstance(source, Span) else source
    if not (isinstance(url, str) and is_url(url)) or "::" in url:
        return False
    try:
        return bool(locate(url)[0].async_impl)
    except DataError:  # told of each picture, when it is to be read
        return False


def list_url(folder: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a remote folder: each name, and whether it is a folder.

    Raises DataError when there is no such folder or it cannot be listed.
    """
    filesystem, inside = locate(folder)
    try:
        entries = filesystem.ls(inside, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{folder}: no such folder") from None
    except Exception as error:  # each protocol's package raises its own
        raise DataError(f"{folder}: cannot be listed: {describe(error)}") from None
    for entry in entries:
        path = entry["name"].rstrip("/")
        if path != inside.rstrip("/"):  # an object store may list a folder in itself
            yield path.rpartition("/")[2], entry["type"] == "directory"


def expand(pattern: str) -> list[str]:
    """Return the URLs that match one with `*`, `?` or `[...]` in it, sorted."""
    filesystem, inside = locate(pattern)
    try:
        found = filesystem.glob(inside)
    except Exception as error:  # each protocol's package raises its own
        raise DataError(f"{pattern}: cannot be listed: {describe(error)}") from None
    _, chain, rest = pattern.partition("::")
    return sorted(f"{filesystem.unstrip_protocol(path)}{chain}{rest}" for path in found)


def size_and_time(url: str) -> tuple[int, str]:
    """Return a file's size in bytes, and a text that changes when it does, where the protocol has one."""
    filesystem, inside = locate(url)
    try:
        info = filesystem.info(inside)
    except FileNotFoundError:
        raise DataError(f"{url}: no such file") from None
    except Exception as error:  # each protocol's package raises its own
        raise DataError(f"{url}: cannot be read: {describe(error)}") from None
    marks = ("ETag", "etag", "mtime", "LastModified", "updated", "created")
    return int(info["size"]), next((str(info[mark]) for mark in marks if info.get(mark)), "")


def locate(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, made once a process, and the path inside it.

    Raises DataError, naming the package to install, when the protocol is unknown or cannot be used here.
    """
    first, chain, rest = url.partition("::")
    protocol, _, inside = first.partition("://")
    try:
        if chain:  # an archive: opened once, not for every file in it
            return _archive(f"{protocol}://::{rest}", os.getpid()), inside
        from fsspec.core import url_to_fs

        filesystem, inside = url_to_fs(url)
        return filesystem, inside
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        advice = f"pip install {package}" if package else describe(error)
        raise DataError(f"{url}: {protocol}:// needs a package that is not installed -- {advice}") from None
    except FileNotFoundError:
        raise DataError(f"{url}: no such file: {rest}") from None
    except Exception as error:  # each protocol's package raises its own
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{url}: cannot be read: {text}") from None


@lru_cache(maxsize=8)
def _archive(url: str, process: int) -> Any:
    """Open an archive; by each process for itself, as forked ones would move each other's place in the file."""
    from fsspec.core import url_to_fs

    return url_to_fs(url)[0]
