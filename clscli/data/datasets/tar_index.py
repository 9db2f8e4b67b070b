"""Where the pictures of a tar shard lie: found out by reading its headers once, and kept in the cache."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
import tarfile
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from clscli.cache import cache_directory
from clscli.data.decode import extensions
from clscli.data.remote import expand, open_binary, size_and_time
from clscli.errors import DataError, WriteError
from clscli.files import atomic_write
from clscli.locations import is_url

log = logging.getLogger("clscli")

_VERSION = 1  # of the index's format and of what is taken into it


@dataclass
class ShardIndex:
    """The pictures of one shard: their members' names, where their bytes are, and the label of each."""

    names: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def find_shards(pattern: str) -> list[str]:
    """Return the shards that a pattern such as `photos-{000..009}.tar` or `photos-*.tar` names."""
    found = []
    for path in expand_braces(pattern):
        if not re.search(r"[*?\[]", path):
            found.append(path)
        else:
            found += expand(path) if is_url(path) else sorted(glob.glob(path))  # noqa: PTH207 -- Path.glob takes no absolute patterns
    return found


def expand_braces(pattern: str) -> list[str]:
    """Write out `{000..009}` and `{a,b}`, as a shell does."""
    match = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if match is None:
        return [pattern]
    first, last, choices = match.groups()
    if choices is None:
        middles = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        middles = choices.split(",")
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [before + middle + rest for middle in middles for rest in expand_braces(after)]


def index_shard(shard: str, json_key: str | None) -> ShardIndex:
    """Return the index of a shard, from the cache if the shard is as it was then. Raises DataError."""
    size, time = _state(shard)
    state = json.dumps([_VERSION, shard if is_url(shard) else str(Path(shard).resolve()), size, time, json_key])
    name = hashlib.blake2b(state.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    cached = cache_directory() / "webdataset" / f"{name}.json"
    if (index := _read_cached(cached)) is not None:
        return index
    log.info("reading the table of contents of %s", shard)
    with open_binary(shard) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                index = _index(shard, tar, json_key)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{shard}: {_why_no_tar(file, error)}") from None
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(cached) as path:
            path.write_text(json.dumps(asdict(index)), encoding="utf-8")
    except (OSError, WriteError) as error:  # the next run reads the headers again
        log.info("note: the table of contents cannot be kept: %s", error)
    return index


def _state(shard: str) -> tuple[int, str]:
    """Return what changes when a shard does: its size and its time."""
    if is_url(shard):
        return size_and_time(shard)
    try:
        status = Path(shard).stat()
    except FileNotFoundError:
        raise DataError(f"{shard}: no such file") from None
    return status.st_size, str(status.st_mtime_ns)


def _read_cached(path: Path) -> ShardIndex | None:
    try:
        return ShardIndex(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _why_no_tar(file: IO[bytes], error: Exception) -> str:
    file.seek(0)
    start = file.read(6)
    compressions = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    for magic, name in compressions.items():
        if start.startswith(magic):
            return f"is compressed with {name}, so no picture can be read by itself -- unpack it to a .tar"
    return f"is no tar file, or a damaged one: {error}"


def _index(shard: str, tar: tarfile.TarFile, json_key: str | None) -> ShardIndex:
    """Read the headers, and the labels, which are small and lie between the pictures."""
    index, label_member = ShardIndex(), ".cls" if json_key is None else ".json"
    pictures: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, str] = {}
    for member in tar:
        if not member.isfile():
            continue
        key, extension = split_name(member.name)
        if extension in extensions():
            if key in pictures:
                raise DataError(f"{shard}: two pictures of one name: {pictures[key][0]} and {member.name}")
            pictures[key] = member.name, member.offset_data, member.size
        elif extension == label_member:
            content = tar.extractfile(member)
            assert content is not None  # of a file, which it is
            labels[key] = _label(f"{shard}: {member.name}", content.read(), json_key)
    if missing := [name for key, (name, _, _) in pictures.items() if key not in labels]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{shard}: no label for {missing[0]}{more} -- expected {split_name(missing[0])[0]}{label_member}"
        )
    for key, (name, offset, size) in pictures.items():
        index.names.append(name)
        index.offsets.append(offset)
        index.sizes.append(size)
        index.labels.append(labels[key])
    return index


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its last part, as WebDataset does; the latter in lower case."""
    path = PurePosixPath(name)
    stem, dot, extension = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, (dot + extension).lower()


def _label(where: str, content: bytes, json_key: str | None) -> str:
    text = content.decode("utf-8", "replace").strip()
    if json_key is not None:
        try:
            value: Any = json.loads(text)[json_key]
        except (ValueError, RecursionError):
            raise DataError(f"{where}: is not JSON") from None
        except (KeyError, TypeError, IndexError):
            raise DataError(f"{where}: has no key {json_key!r}") from None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(f"{where}: {json_key!r} must be a class's name or index")
        text = str(value)
    if not text:
        raise DataError(f"{where}: no label in it")
    return text
