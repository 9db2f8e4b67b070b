"""Packages that are installed as far as packaging metadata can tell: a `*.dist-info` folder and modules."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from clscli import plugins


class FakePackages:
    """Write packages into folders of their own, and put these on `sys.path`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.monkeypatch = monkeypatch
        self.num_installed = 0
        self.modules: set[str] = set()

    def install(
        self,
        name: str,
        entry_points: Mapping[str, Mapping[str, str]],
        *,
        version: str = "1.0",
        requires: Sequence[str] = (),
        modules: Mapping[str, str] | None = None,
    ) -> Path:
        """Install a package; `entry_points` maps a kind to names and values, `modules` a name to its source."""
        lines = []
        for kind, entries in entry_points.items():
            lines += [f"[clscli.{kind}]", *(f"{key} = {value}" for key, value in entries.items())]
        metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
        # A folder for each: importlib_metadata remembers what a folder held.
        site = self.root / f"site{self.num_installed}"
        self.num_installed += 1
        self.write_info(site / f"{name.replace('-', '_')}-{version}.dist-info", metadata, lines)
        for module, source in (modules or {}).items():
            (site / f"{module}.py").write_text(source, encoding="utf-8")
            self.monkeypatch.delitem(sys.modules, module, raising=False)
            self.modules.add(module)
        self.monkeypatch.syspath_prepend(site)
        plugins.clear_cache()
        return site

    def forget(self) -> None:
        """Let go of what was imported from the packages, and of what was found."""
        for module in self.modules:
            sys.modules.pop(module, None)
        plugins.clear_cache()

    @staticmethod
    def write_info(folder: Path, metadata: Sequence[str] | None, entry_points: Sequence[str]) -> None:
        """Write a `*.dist-info` folder; without METADATA when that is None."""
        folder.mkdir(parents=True)
        if metadata is not None:
            (folder / "METADATA").write_text("\n".join(metadata) + "\n", encoding="utf-8")
        (folder / "entry_points.txt").write_text("\n".join(entry_points) + "\n", encoding="utf-8")
