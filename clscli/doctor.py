"""What `clscli doctor` looks at: each check gives findings in words, and none needs another to pass."""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import importlib_metadata
from packaging.requirements import InvalidRequirement, Requirement

from clscli import __version__
from clscli.abilities import try_ability
from clscli.cache import cache_directory
from clscli.errors import describe
from clscli.health import state_of
from clscli.machine import available_cores, available_memory
from clscli.plugins import CORE, find_components, find_hidden, find_strays
from clscli.reports.text import list_some

Status = Literal["ok", "note", "problem"]

# What clscli's own dependencies are, besides torch and torchvision, as far as results depend on them.
_LIBRARIES = ("numpy", "pillow", "pydantic")
# Two batches of 256 pictures of 224x224, read ahead by each of 4 workers, take 0.3 GB.
_LITTLE_SHARED_MEMORY = 0.3e9
_GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One line of the report; that of a note or a problem says what to do."""

    topic: str
    status: Status
    text: str

    def as_json(self) -> dict[str, str]:
        """Return what `clscli doctor --json` prints of it."""
        return asdict(self)


def examine() -> Iterator[Finding]:
    """Look at versions, devices, plugins and folders, and try what may not work; yield findings as they come."""
    yield Finding("clscli", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    torch, torchvision = _torch(), _torchvision()
    yield torch
    yield torchvision
    for name in _LIBRARIES:
        yield _installed(name)
    yield _jpeg_decoder()
    yield _cpu()
    yield from _shared_memory()
    accelerators = _accelerators() if torch.status == "ok" else []
    yield from accelerators
    yield from _plugins()
    yield _cache()
    for device in ["cpu", *(a.topic for a in accelerators if a.status == "ok")] if torch.status == "ok" else []:
        yield _bfloat16(device)
        yield _compile(device)


def _torch() -> Finding:
    finding = _installed("torch")
    if finding.status != "ok":
        return finding
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken install may raise OSError, RuntimeError, ...
        advice = "reinstall it: pip install --force-reinstall torch torchvision"
        return Finding("torch", "problem", f"{finding.text} cannot be imported: {describe(error)} -- {advice}")
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return Finding("torch", "ok", f"{torch.__version__}, {built}")


def _torchvision() -> Finding:
    """See whether torchvision can be imported, and is meant for this torch."""
    finding = _installed("torchvision")
    if finding.status != "ok":
        return finding
    advice = "install the two together, from one index: pip install --force-reinstall torch torchvision"
    if wanted := _unmet_torch():
        return Finding("torchvision", "problem", f"{finding.text} is meant for {wanted} -- {advice}")
    try:
        torchvision = importlib.import_module("torchvision")
    except Exception as error:
        text = f"{finding.text} cannot be imported: {describe(error)}"
        if "torchvision::" in str(error):
            # Its compiled part was not loaded, as it does not fit the libraries of the torch that is there.
            text += (
                " -- it does not fit this torch: one is for CUDA and the other is not, or their versions differ"
            )
        return Finding("torchvision", "problem", f"{text} -- {advice}")
    return Finding("torchvision", "ok", torchvision.__version__)


def _unmet_torch() -> str | None:
    """Return the versions of torch that the installed torchvision says it needs, unless one of them is there."""
    for line in importlib_metadata.requires("torchvision") or []:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        installed = importlib_metadata.version("torch") if requirement.name == "torch" else None
        if installed is not None and not requirement.specifier.contains(installed, prereleases=True):
            return f"torch{requirement.specifier}, but torch {installed} is installed"
    return None


def _installed(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib_metadata.version(name))
    except importlib_metadata.PackageNotFoundError:
        return Finding(name, "problem", f"is not installed -- pip install {name}")


def _jpeg_decoder() -> Finding:
    """See whether the faster of two decoders is there."""
    finding = _installed("simplejpeg")
    if finding.status == "ok":
        return finding
    advice = "pip install 'clscli[simplejpeg]'"
    return Finding(
        finding.topic, "note", f"is not installed, Pillow decodes JPEGs, which takes longer -- {advice}"
    )


def _cpu() -> Finding:
    cores, memory = available_cores(), f"{available_memory() / _GB:.1f} GB of memory to use"
    return Finding("cpu", "ok", f"{cores} core{'s' * (cores > 1)}, {memory}")


def _shared_memory() -> Iterator[Finding]:
    """See whether there is room for what reading processes hand over; containers often have 64 MB."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    text = f"{free / _GB:.1f} GB free in {folder}"
    if free < _LITTLE_SHARED_MEMORY:
        advice = "too little for large batches; a container needs --shm-size=2g, or set data.num_workers = 0"
        yield Finding("shared memory", "note", f"{text} -- {advice}")
    else:
        yield Finding("shared memory", "ok", text)


def _nvidia_driver() -> str | None:
    """Ask for the version of the driver; None where there is no GPU of NVIDIA's, or nobody who knows."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def _accelerators() -> list[Finding]:
    """Name the devices that torch can use besides the CPU, and one that it should be able to use."""
    import torch

    driver = _nvidia_driver()
    if torch.cuda.is_available():
        known = f", driver {driver}" if driver else ""
        devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return [
            Finding(f"cuda:{index}", "ok", f"{device.name}, {device.total_memory / _GB:.0f} GB{known}")
            for index, device in enumerate(devices)
        ]
    if torch.backends.mps.is_available():
        return [Finding("mps", "ok", "Apple's GPU")]
    if driver:
        advice = "it has to be built for CUDA, and the driver new enough for that: https://pytorch.org/get-started"
        return [Finding("cuda", "note", f"NVIDIA driver {driver}, but torch finds no GPU -- {advice}")]
    return []


def _plugins() -> Iterator[Finding]:
    """Import every third party's component; tell the state of each package."""
    found = [component for component in (*find_components(), *find_strays()) if not component.is_core]
    if hidden := sorted({component.dist for component in find_hidden()}):
        yield Finding("plugins", "note", f"CLSCLI_PLUGINS hides {list_some(hidden)} -- unset it to use them")
    elif not found:
        yield Finding("plugins", "ok", "none are installed")
    found.sort(key=lambda c: (c.dist, c.kind, c.name))
    for (dist, version), group in groupby(found, key=lambda c: (c.dist, c.version)):
        components = list(group)
        states = [(component, *state_of(component)) for component in components]
        bad = [
            f"'{c.name}' {note}" if status == "invalid" else note for c, status, note in states if status != "ok"
        ]
        if bad:
            more = f" (and {len(bad) - 1} more: clscli list --check)" if len(bad) > 1 else ""
            yield Finding(dist, "problem", f"{bad[0]}{more}")
        else:
            yield Finding(dist, "ok", f"{version}, {len(components)} component{'s' * (len(components) > 1)}")


def _cache() -> Finding:
    folder = cache_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        advice = f"set CLSCLI_CACHE to a folder that {CORE} may write to"
        return Finding("cache", "problem", f"{folder}: {error.strerror} -- {advice}")
    free = shutil.disk_usage(folder).free
    return Finding("cache", "ok", f"{folder}: {size / _GB:.2f} GB, {free / _GB:.0f} GB free on its disk")


def _bfloat16(device: str) -> Finding:
    why = try_ability("bfloat16", device)
    topic = f"bfloat16 on {device}"
    if why is None:
        return Finding(topic, "ok", "works")
    return Finding(topic, "note", f'does not work: {why} -- train.precision = "auto" does without')


def _compile(device: str) -> Finding:
    why = try_ability("compile", device)
    topic = f"compile on {device}"
    if why is None:
        return Finding(topic, "ok", "works")
    if device == "cpu" and "compiler" in why.lower():
        return Finding(topic, "note", f"does not work: {why} -- it needs a C++ compiler, such as the package g++")
    return Finding(topic, "note", f'does not work: {why} -- train.compile = "auto" does without')
