"""What this process may use of the machine, and how it keeps memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from clscli import machine
from clscli.machine import available_cores, available_memory

PAGES = """
import resource, sys
import torch
from clscli.engine.device import choose_device

choose_device("cpu")

for step in range(40):
    if step == 30:  # by then the allocator has found places for all sizes
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(64 << 20, dtype=torch.uint8).fill_(1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


def test_memory_of_the_machine_and_of_its_container(tmp_path):
    assert 1 << 20 < available_memory() < 1 << 50
    for name, text in {
        "memory.max": "1000000",
        "memory.current": "700000",
        "memory.stat": "anon 1\ninactive_file 200000\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert machine._free_of_container(tmp_path) == 500_000
    (tmp_path / "memory.max").write_text("max")
    assert machine._free_of_container(tmp_path) is None
    assert machine._free_of_container(tmp_path / "none") is None


def test_cores_of_the_machine_and_of_its_container(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_cores_of_container", lambda: None)
    if hasattr(os, "sched_getaffinity"):
        assert available_cores() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(machine, "_cores_of_container", lambda: 0)
    assert available_cores() == 1
    monkeypatch.undo()
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert machine._cores_of_container(tmp_path) == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine._cores_of_container(tmp_path) is None
    assert machine._cores_of_container(tmp_path / "none") is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_the_memory_of_a_freed_tensor_is_kept():
    of_a_tensor = (64 << 20) / os.sysconf("SC_PAGE_SIZE")
    assert float(python(PAGES)) < 0.02 * of_a_tensor


def test_what_a_user_says_of_memory_goes_first():
    code = "from clscli.machine import keep_freed_memory as keep; print(keep())"
    assert python(code, MALLOC_TRIM_THRESHOLD_="1000000") == "False\n"
    assert python(code, GLIBC_TUNABLES="glibc.malloc.tcache_count=1") == "False\n"


def python(code, **variables):
    """Run some code in a process without variables that tune memory but these; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=environment | variables, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
