"""Environments of their own for real packages: these are built and installed by pip, and used as commands."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"
dependencies = {requires}

"""


class Environment:
    """An environment that sees this one's packages, so that torch need not be installed again."""

    def __init__(self, root: Path) -> None:
        venv.create(root, with_pip=False)
        ours = [sysconfig.get_path("purelib"), *site.getsitepackages()]
        theirs = sysconfig.get_path("purelib", vars={"base": str(root), "platbase": str(root)})
        lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in dict.fromkeys(ours))
        (Path(theirs) / "ours.pth").write_text(lines)
        self.python = root / ("Scripts" if os.name == "nt" else "bin") / "python"

    def pip(self, *arguments: object) -> None:
        """Run pip on this environment; nothing is taken from an index unless an argument says so."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def clscli(self, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        command = [str(self.python), "-m", "clscli", *map(str, arguments)]
        environment = {**os.environ, **(env or {})}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def write_package(
    root: Path,
    name: str,
    entry_points: Mapping[str, Mapping[str, str]],
    source: str,
    requires: Sequence[str] = ("clscli>=0.1",),
) -> Path:
    """Write a package of one module, named like itself, that pip can build; `entry_points` are by kind."""
    folder = root / name
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(source, encoding="utf-8")
    text = PROJECT.format(name=name, requires=list(requires))
    for kind, entries in entry_points.items():
        lines = (f'"{key}" = "{value}"\n' for key, value in entries.items())
        text += f'[project.entry-points."clscli.{kind}"]\n{"".join(lines)}\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def build_wheel(package: Path, out: Path) -> Path:
    """Build the wheel of a package, without a network and without an environment of the build's own."""
    from hatchling.builders.wheel import WheelBuilder

    return Path(next(WheelBuilder(str(package)).build(directory=str(out))))
