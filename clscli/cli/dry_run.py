"""`clscli train --dry-run`: everything that is known before the first step."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

import typer

from clscli.cli.console import to_json
from clscli.data.order import num_batches
from clscli.engine.accumulation import lr_factor
from clscli.engine.device import choose_device, device_name
from clscli.engine.groups import GroupRow, build_optimizer, describe_groups
from clscli.engine.idle_settings import idle_settings
from clscli.engine.initial_weights import load_initial
from clscli.engine.loaders import settle_cache
from clscli.engine.memory import settle_batch_size
from clscli.engine.prepare import Plan, prepare
from clscli.models.weights import find_pretrained, load_pretrained
from clscli.reports.text import format_table
from clscli.spec import read_training_draft, render_spec, resolve
from clscli.spec.check import check_structure

log = logging.getLogger("clscli")

# More classes than this do not fit a terminal; --json has them all.
_MAX_CLASSES = 40


def show_dry_run(
    source: str | dict[str, object],
    data: str | None,
    sets: list[str],
    unsets: list[str],
    device: str,
    as_json: bool,
) -> None:
    """Prepare a run, print what it would be, and leave nothing behind."""
    chosen = choose_device(device)
    draft = read_training_draft(source, data=data, sets=sets, unsets=unsets)
    plan = settle_cache(settle_batch_size(prepare(resolve(draft, check_structure(draft))), chosen))
    weights = _try_weights(plan)
    images = plan.spec.spec.data.images_per_batch
    for note in idle_settings(plan.spec, num_batches(len(plan.sampler), images)):
        log.info("note: %s", note)
    if as_json:
        typer.echo(to_json({**_as_json(plan, str(chosen)), "weights": weights}, sys.stdout))
        return
    typer.echo(render_spec(plan.spec.values, plan.spec.draft))
    typer.echo(_model_table(plan))
    typer.echo("")
    typer.echo(_group_table(plan))
    typer.echo("")
    typer.echo(_data_table(plan))
    typer.echo("")
    for line in weights:
        typer.echo(line)
    typer.echo(f"would train on {device_name(chosen)}")


def _try_weights(plan: Plan) -> list[str]:
    """Load what the run would begin from, if it is on this machine; return the lines that the run would log."""
    if plan.initial is not None:
        return load_initial(plan.spec, plan.model, plan.data.classes, plan.initial)
    if isinstance(find_pretrained(plan.spec), Path):
        return load_pretrained(plan.spec, plan.model, plan.blueprint.num_classes)
    return []


def _model_table(plan: Plan) -> str:
    rows = [(stage.name, " ".join(_shape(s) for s in stage.shapes)) for stage in plan.stages]
    table = format_table(("part", "gives, for a batch of B"), rows)
    return f"{table}\n{plan.num_parameters:,} parameters, {plan.num_trained:,} of them trained"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['B', *map(str, shape[1:])])})"


def _group_table(plan: Plan) -> str:
    rows = [
        (
            str(row.num_tensors),
            f"{row.num_parameters:,}",
            f"{row.lr:g}",
            "-" if row.weight_decay is None else f"{row.weight_decay:g}",
            row.first,
        )
        for row in _groups(plan)
    ]
    head = ("tensors", "parameters", "lr", "weight decay", "group that begins with")
    return format_table(head, rows, right=(0, 1, 2, 3))


def _groups(plan: Plan) -> list[GroupRow]:
    spec = plan.spec.spec
    factor = lr_factor(spec.data.images_per_batch, spec.train)
    return describe_groups(build_optimizer(plan.spec, plan.model), plan.model, factor)


def _data_table(plan: Plan) -> str:
    train, val = plan.data.train.class_counts, plan.data.val.class_counts
    rows = [(n, str(t), str(v)) for n, t, v in zip(plan.data.classes, train, val, strict=True)]
    if len(rows) > _MAX_CLASSES:
        rows = [*rows[:_MAX_CLASSES], (f"... {len(rows) - _MAX_CLASSES} more classes", "", "")]
    rows.append(("all", str(len(plan.data.train)), str(len(plan.data.val))))
    return format_table(("class", "training pictures", "validation pictures"), rows, right=(1, 2))


def _as_json(plan: Plan, device: str) -> dict[str, Any]:
    counts = zip(plan.data.classes, plan.data.train.class_counts, plan.data.val.class_counts, strict=True)
    return {
        "spec": plan.spec.values,
        "parameters": plan.num_parameters,
        "trained_parameters": plan.num_trained,
        "parts": [{"name": s.name, "shapes": [list(x[1:]) for x in s.shapes]} for s in plan.stages],
        "groups": [dataclasses.asdict(row) for row in _groups(plan)],
        "data": [{"class": name, "train": train, "val": val} for name, train, val in counts],
        "device": device,
    }
