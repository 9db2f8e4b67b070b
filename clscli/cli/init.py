"""`clscli init`: a spec to begin with."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from clscli.cli.console import follow, say
from clscli.cli.options import complete_backbone
from clscli.cli.schema import write_schema
from clscli.errors import UsageError
from clscli.plugins import resolve

_SCHEMA = "clscli.schema.json"


def init_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The pictures: one folder a class.")] = Path(),
    backbone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Any that is installed.", autocompletion=complete_backbone),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.toml", help="The spec, a new file.")] = Path("spec.toml"),
) -> None:
    """Look at pictures, and write a spec to begin with: every value with its reason.

    Their number, sizes and classes decide on the backbone, on fine-tuning or a start from nothing, and on how
    long. Nothing is downloaded, and no file of yours is overwritten. clscli.schema.json, which lets editors
    complete and check the spec, is written beside it, anew if it is there.
    """
    if out.suffix != ".toml":
        raise UsageError(f"--out {out}: must end in .toml")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    if out.exists():
        raise UsageError(f"{out}: exists already, and nothing is overwritten -- give another file with --out")
    if backbone is not None:
        resolve("backbones", backbone)
    from clscli.files import atomic_write
    from clscli.new_spec import find_start, write_text

    with follow() as observer:
        start = find_start(folder, backbone, observer)
    say(f"found {start.pictures.describe()}")
    text = write_text(start, folder, out, _SCHEMA)
    if problems := write_schema(out.with_name(_SCHEMA)):
        # Here they are none of the user's business, who has asked for none of them: one line for all.
        say(f"{len(problems)} of them cannot be used, and are not in {_SCHEMA} -- see: clscli list --check")
    with atomic_write(out) as path:
        path.write_text(text, encoding="utf-8", newline="\n")
    say(f"wrote {out}: {start.describe()}")
    say(f"next: clscli train {quote(str(out))}")
