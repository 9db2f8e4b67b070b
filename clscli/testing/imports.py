"""What importing a package's components does besides: asked of a fresh process, which an audit hook watches.

Run as `python -m clscli.testing.imports` it reads JSON from stdin, `{"path": sys.path, "modules": [...]}`, imports
the modules in turn, and prints what each of them did, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

from clscli.plugins import Component, find_components

# Of importing torch and a few hundred modules; one that waits for a network takes longer.
_SECONDS = 300.0
_CONNECTS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}
_WRITES = {"os.mkdir", "os.remove", "os.rename"}


def deeds_of(component: Component) -> list[str]:
    """Tell what importing a component's module writes, and what it connects to."""
    module = _module_of(component)
    modules = sorted({_module_of(c) for c in find_components() if c.dist == component.dist})
    return _deeds(tuple(sys.path), tuple(modules)).get(module, [])


def _module_of(component: Component) -> str:
    return component.value.partition(":")[0].strip()


@cache
def _deeds(path: tuple[str, ...], modules: tuple[str, ...]) -> dict[str, list[str]]:
    """Import modules in a process of their own: all those of a package in one, as torch alone takes seconds."""
    # Without -B, Python itself would write what it has compiled.
    command = [sys.executable, "-B", "-m", "clscli.testing.imports"]
    asked = json.dumps({"path": path, "modules": modules})
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {module: [f"importing the package takes more than {_SECONDS:.0f} seconds"] for module in modules}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        return {module: [f"importing the package in a fresh process fails: {last}"] for module in modules}
    answer: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Import what stdin names, and print what was done meanwhile."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    deeds: dict[str, list[str]] = {module: [] for module in asked["modules"]}
    for module in ("torch", "torchvision"):  # what these do is nobody's else affair
        importlib.import_module(module)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        text = _told(event, arguments)
        if text is not None and (module := _importing(deeds)) is not None and text not in deeds[module]:
            deeds[module].append(text)

    sys.addaudithook(watch)
    for module in deeds:
        try:
            importlib.import_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException:  # of this one, and why, its own check tells
            continue
    print(json.dumps(deeds))


def _told(event: str, arguments: tuple[Any, ...]) -> str | None:
    """Put an event into words if it is one that an import should not cause."""
    if event in _CONNECTS:
        address = arguments[1] if event == "socket.connect" else arguments[0]
        return f"importing it connects to {address}"
    if event in _WRITES:
        return f"importing it calls {event} of {arguments[0]}"
    if event == "open":
        file, _, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if writes and str(file) != os.devnull:
            return f"importing it writes to {file}"
    return None


def _importing(modules: dict[str, list[str]]) -> str | None:
    """Name the module whose code runs, or has imported what runs: the innermost of those that are asked for."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name in modules:
            return str(name)
        frame = frame.f_back  # type: ignore[assignment]
    return None


if __name__ == "__main__":
    main()
