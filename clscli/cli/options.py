"""Options that several commands share, and completion from metadata only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clscli.errors import UsageError

# What `clscli list` takes where it takes the kind of a component.
PRESETS = "presets"


def complete_kind(incomplete: str) -> list[str]:
    """Complete the kind of a component."""
    from clscli.plugins import KINDS

    return [kind for kind in [*KINDS, PRESETS] if kind.startswith(incomplete)]


def complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a component's name, third parties' qualified ones too; or a preset's."""
    from clscli.plugins import find_components

    if ctx.params.get("kind") == PRESETS:
        return complete_preset(incomplete)
    components = find_components(ctx.params.get("kind"))
    names = {c.name for c in components} | {c.qualified for c in components if not c.is_core}
    return sorted(name for name in names if name.startswith(incomplete))


def complete_preset(incomplete: str) -> list[str]:
    """Complete a preset's name; the shell itself completes files."""
    from clscli.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_split(incomplete: str) -> list[str]:
    """Complete the name of a split."""
    return [name for name in ("val", "test", "train") if name.startswith(incomplete)]


Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Ckpt = Annotated[Path, typer.Option(metavar="FILE", help="The checkpoint, such as runs/spec/best.pth.")]


def check_ckpt(ckpt: Path) -> None:
    """Say that a checkpoint does not exist before torch is imported."""
    if not ckpt.exists():
        raise UsageError(f"--ckpt {ckpt}: no such file")
