"""`clscli doctor`: what is installed here, and whether it works."""

from __future__ import annotations

import sys

import typer

from clscli.cli.console import to_json
from clscli.cli.options import Json

# As wide as the longest topic that is not a package of somebody's.
_TOPIC_WIDTH = 18


def doctor_command(as_json: Json = False) -> None:
    """Look at versions, devices, plugins and caches, and try what may not work; exit with 1 on a problem."""
    from clscli.doctor import examine
    from clscli.reports.text import printable

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            typer.echo(printable(f"{finding.status:7}  {finding.topic:{_TOPIC_WIDTH}}  {finding.text}"))
    is_well = all(finding.status != "problem" for finding in findings)
    if as_json:
        typer.echo(to_json({"ok": is_well, "findings": [f.as_json() for f in findings]}, sys.stdout))
    if not is_well:
        raise typer.Exit(1)
