"""Options that several commands share, and completion from metadata only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clscli.errors import UsageError

if TYPE_CHECKING:
    from clscli.plugins import Component

# What `clscli list` takes where it takes the kind of a component.
PRESETS = "presets"


def complete_kind(incomplete: str) -> list[str]:
    """Complete the kind of a component."""
    from clscli.plugins import KINDS

    return [kind for kind in [*KINDS, PRESETS] if kind.startswith(incomplete)]


def complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a component's name, third parties' qualified ones too; or a preset's."""
    kind = ctx.params.get("kind")
    return complete_preset(incomplete) if kind == PRESETS else _complete_of(kind, incomplete)


def complete_backbone(incomplete: str) -> list[str]:
    """Complete a backbone's name."""
    return _complete_of("backbones", incomplete)


def _complete_of(kind: str | None, incomplete: str) -> list[str]:
    from clscli.plugins import find_components

    components = find_components(kind)
    for family in [c for c in components if c.is_family]:
        if incomplete.startswith((family.name[:-1], family.qualified[:-1])):
            components += _members(family)
    # Of a family the part that all its names begin with.
    names = {c.name.removesuffix("*") for c in components}
    names |= {c.qualified.removesuffix("*") for c in components if not c.is_core}
    return sorted(name for name in names if name.startswith(incomplete))


def _members(family: Component) -> list[Component]:
    from clscli.errors import PluginError
    from clscli.families import members

    try:
        return members(family)
    except PluginError:  # nothing can be said while a line is being typed
        return []


def complete_preset(incomplete: str) -> list[str]:
    """Complete a preset's name; the shell itself completes files."""
    from clscli.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def complete_split(incomplete: str) -> list[str]:
    """Complete the name of a split."""
    return [name for name in ("val", "test", "train") if name.startswith(incomplete)]


Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
# No Path, which would make `s3:/bucket` of `s3://bucket`.
Data = Annotated[str | None, typer.Option(metavar="DIR|URL", help="Pictures to use, for data.root.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key; may be repeated.")]
Unsets = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="KEY", help="Return a key to its default; before any --set."),
]
Png = Annotated[Path | None, typer.Option("--out", metavar="FILE.png", help="Where to write the picture.")]
Ckpt = Annotated[Path, typer.Option(metavar="FILE", help="The checkpoint, such as runs/spec/best.pth.")]

Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="SCORE",
        min=0,
        max=1,
        help="With several labels a picture: the score from which on one is given (default: 0.5).",
    ),
]


def check_ckpt(ckpt: Path) -> None:
    """Say that a checkpoint does not exist before torch is imported."""
    if not ckpt.exists():
        raise UsageError(f"--ckpt {ckpt}: no such file")


def check_png(path: Path) -> Path:
    """Say that a picture cannot be written there before anything is computed."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out {path}: must end in .png")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")
    return path
