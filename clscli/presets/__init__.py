"""Specs that ship with clscli: each a TOML file in this folder, known by its name without `.toml`."""

from __future__ import annotations

from importlib import resources


def preset_names() -> list[str]:
    """List the shipped presets."""
    files = resources.files(__name__).iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def preset_text(name: str) -> str:
    """Return a preset's TOML. Raises KeyError for an unknown name."""
    if name not in preset_names():
        raise KeyError(name)
    return resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def preset_title(name: str) -> str:
    """Return what a preset's first line, a comment, says it is. Raises KeyError for an unknown name."""
    return preset_text(name).partition("\n")[0].removeprefix("# ")
