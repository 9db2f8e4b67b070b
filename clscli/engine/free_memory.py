"""How much memory there is for this process, without torch."""

from __future__ import annotations

import os
from pathlib import Path


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


def _free_of_container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Read the limit of a Linux control group, second version; None without one."""
    try:
        limit = int((folder / "memory.max").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / "memory.current").read_text()) - int(stat["inactive_file"])
    except (OSError, ValueError, KeyError):  # ValueError: "max"
        return None
    return max(0, limit - used)
