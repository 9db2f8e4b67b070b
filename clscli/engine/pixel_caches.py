"""Open the caches that `data.cache` asks for: "memory" or "disk", one for each split, shared by all processes."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import PIL
import torch

from clscli import __version__
from clscli.data.cache_files import (
    DAYS_UNUSED,
    MEMORY_HAS_FILES,
    file_in_memory,
    file_on_disk,
    folder_on_disk,
    found_whole,
    remove_unused,
    reserve,
)
from clscli.data.headers import read_headers
from clscli.data.pixel_cache import PixelCache, Slots
from clscli.data.prefix import Halves, divide, sizes_after
from clscli.data.split import View
from clscli.engine.distributed import World
from clscli.engine.prepare import Plan
from clscli.errors import SpecError
from clscli.machine import available_memory

log = logging.getLogger("clscli")

# The rest is for the processes that decode and train.
_SHARE_OF_MEMORY = 0.8

# Files, and what gives them back if they are not to stay.
_Made = list[tuple[Path, Callable[[], None] | None]]


@dataclass(frozen=True)
class _Part:
    """What a split's cache will be."""

    split: str
    view: View
    halves: Halves
    slots: Slots

    @classmethod
    def of(cls, plan: Plan, split: str, count: int | None = None) -> _Part:
        """Find out about a split, or about its first pictures only."""
        is_training = split == "train"
        view = plan.data.train if is_training else plan.data.val
        halves = divide(plan.train_transforms if is_training else plan.eval_transforms)
        if view.sizes is None:
            view.sizes = read_headers(view).sizes
        return cls(split, view, halves, Slots(sizes_after(halves.once, view.sizes[:count])))

    def facts(self, plan: Plan) -> list[object]:
        """Name all that the pixels depend on besides the pictures themselves."""
        bounds = plan.spec.many("transforms", "train" if self.split == "train" else "eval")
        done = [(b.component.dist, b.component.version, b.table()) for b in bounds[: len(self.halves.once)]]
        versions = [__version__, PIL.__version__, torch.__version__]
        return [versions, plan.spec.spec.data.scaled_decode, done, self.slots.num_bytes]

    def cache(self, plan: Plan, file: Path, release: Callable[[], None] | None) -> PixelCache:
        return PixelCache(
            *(file, self.slots, self.view, *self.halves),
            scaled_decode=plan.spec.spec.data.scaled_decode,
            release=release,
        )


def open_caches(plan: Plan, world: World) -> dict[str, PixelCache]:
    """Open the caches of both splits. The first process of each machine makes the files, for the others as well.

    Raises SpecError with the figures when they do not fit.
    """
    parts = [_Part.of(plan, split) for split in ("train", "val")]
    made: _Made = []
    with world.together():
        _refuse_unknown_sizes(plan, parts)
        if world.local_rank == 0:
            made = _in_memory(plan, parts) if plan.spec.spec.data.cache == "memory" else _on_disk(plan, parts)
    of_all = world.gather([str(file) for file, _ in made])
    files = map(Path, of_all[world.rank - world.local_rank])
    releases = [release for _, release in made] or [None] * len(parts)
    return {
        part.split: part.cache(plan, file, release)
        for part, file, release in zip(parts, files, releases, strict=True)
    }


def open_private_cache(plan: Plan, count: int) -> PixelCache:
    """Open a cache of the first training pictures, in memory, for this process alone."""
    part = _Part.of(plan, "train", count)
    return part.cache(plan, *file_in_memory(part.slots.num_bytes))


def _refuse_unknown_sizes(plan: Plan, parts: list[_Part]) -> None:
    if any(part.slots.num_kept for part in parts):
        return
    cache = plan.spec.spec.data.cache
    message = (
        f'"{cache}" has to know how large the pictures are before they are read, and of these nobody does '
        '-- write "none", or unpack them into files'
    )
    raise plan.spec.error(("data", "cache"), message)


def _in_memory(plan: Plan, parts: list[_Part]) -> _Made:
    needed, free = _total(parts), available_memory()
    usable = int(_SHARE_OF_MEMORY * free)
    if needed > usable:
        room = f"of {_size(free)} of free memory it may take {_size(usable)}"
        raise _does_not_fit(plan, parts, room, "disk")
    if not MEMORY_HAS_FILES:
        _refuse_full_disk(plan, parts, needed, Path(tempfile.gettempdir()))
    log.info("cache: %s in memory, for %s", _size(needed), _counted(parts))
    return [file_in_memory(part.slots.num_bytes) for part in parts]


def _on_disk(plan: Plan, parts: list[_Part]) -> _Made:
    files: _Made = []
    missing: dict[Path, int] = {}
    for part in parts:
        file = file_on_disk(part.view, part.facts(plan))
        if file is None:
            message = '"disk" keeps pictures that are files, and these are not -- write "memory" or "none"'
            raise plan.spec.error(("data", "cache"), message)
        if not found_whole(file, part.slots.num_bytes):
            missing[file] = part.slots.num_bytes
        files.append((file, None))
    if missing:
        _make_room()
    _refuse_full_disk(plan, parts, sum(missing.values()), folder_on_disk())
    for file, num_bytes in missing.items():
        reserve(file, num_bytes)
    known = "" if missing else ", begun by an earlier run"
    log.info("cache: %s in %s, for %s%s", _size(_total(parts)), folder_on_disk(), _counted(parts), known)
    return files


def _make_room() -> None:
    if removed := remove_unused():
        files = "1 file" if len(removed) == 1 else f"{len(removed)} files"
        size, days = _size(sum(removed)), DAYS_UNUSED
        log.info("cache: %s of %s removed, which no run has used for %d days", files, size, days)


def _refuse_full_disk(plan: Plan, parts: list[_Part], needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _does_not_fit(plan, parts, f"{_size(free)} are free in {folder}", "memory")


def _does_not_fit(plan: Plan, parts: list[_Part], room: str, other: str) -> SpecError:
    cache = plan.spec.spec.data.cache
    options = "" if cache == other else f'"{other}" or '
    message = (
        f'"{cache}" takes {_size(_total(parts))} for {_counted(parts)}, and {room} '
        f'-- write {options}"none", or let transforms.train begin with a resize to fewer pixels'
    )
    return plan.spec.error(("data", "cache"), message)


def _counted(parts: list[_Part]) -> str:
    """Count the pictures that have a place."""
    counts = " + ".join(str(part.slots.num_kept) for part in parts)
    left_out = sum(len(part.view) - part.slots.num_kept for part in parts)
    read_anew = f" ({left_out} more, of unknown size, are read anew each time)" if left_out else ""
    return f"{counts} pictures{read_anew}"


def _total(parts: list[_Part]) -> int:
    return sum(part.slots.num_bytes for part in parts)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
