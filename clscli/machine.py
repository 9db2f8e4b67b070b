"""The cores and the memory that this process may use, and how it keeps memory; without torch."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

_CONTAINER = Path("/sys/fs/cgroup")
# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def available_cores() -> int:
    """Count the cores that this process may use: of the machine, and of the container that it runs in."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = _cores_of_container()
    return cores if allowed is None else max(1, min(cores, allowed))


def _cores_of_container(folder: Path = _CONTAINER) -> int | None:
    """Read the limit of a Linux control group, second version; None without one."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return round(int(quota) / int(period))
    except (OSError, ValueError):  # ValueError: "max"
        return None


@cache
def keep_freed_memory() -> bool:
    """Have glibc keep the memory of freed tensors for the next ones; return whether it will.

    By default it returns what is large to the system, which hands it out anew page by page, filled with zeros: on
    a CPU that took a fifth of the time of training a small network, and half of that of running one. What a
    process once needed it then keeps; with several sizes of batches that may be a quarter more at the peak.
    Environment variables that tune glibc's malloc go first, and other C libraries are left alone.
    """
    is_tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(
        name in os.environ for name in ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    )
    if is_tuned or os.name != "posix" or not hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def available_memory() -> int:
    """Return how many bytes this process may still take: of the machine, and of the container that it runs in."""
    found = [_free_of_machine(), _free_of_container()]
    return min(free for free in found if free is not None)


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # macOS does not say what is free
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 4 << 30  # Windows: what can be counted on


def _free_of_container(folder: Path = _CONTAINER) -> int | None:
    """Read the limit of a Linux control group, second version; None without one."""
    try:
        limit = int((folder / "memory.max").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / "memory.current").read_text()) - int(stat["inactive_file"])
    except (OSError, ValueError, KeyError):  # ValueError: "max"
        return None
    return max(0, limit - used)
