"""Settings that a run is too short for: they are no mistake as such, but hardly what was meant."""

from __future__ import annotations

from collections.abc import Iterator

from clscli.engine.accumulation import steps_per_epoch
from clscli.reports.text import list_some
from clscli.spec import ResolvedSpec
from clscli.toml import Path


def idle_settings(spec: ResolvedSpec, num_batches: int) -> list[str]:
    """Name what has no effect in a run of so many batches an epoch, each with its place in the spec."""
    return [spec.problem(path, message) for path, message in _found(spec, num_batches)]


def _found(spec: ResolvedSpec, num_batches: int) -> Iterator[tuple[Path, str]]:
    options = spec.spec.train
    epochs, steps = options.epochs, options.epochs * steps_per_epoch(num_batches, options)
    if options.accumulation_steps > num_batches:
        yield (
            ("train", "accumulation_steps"),
            f"is {options.accumulation_steps}, but an epoch has {_counted(num_batches, 'batch', 'batches')}: "
            "it is one step",
        )
    if options.freeze_epochs >= epochs:
        yield (
            ("train", "freeze_epochs"),
            f"is {options.freeze_epochs}, and the run has {_counted(epochs, 'epoch')}: "
            "the backbone is never trained",
        )
    for key, value, limit, unit in (
        ("val_every", options.val_every, epochs, "epoch"),
        ("val_every_steps", options.val_every_steps, steps, "step"),
        ("val_from_epoch", options.val_from_epoch, epochs, "epoch"),
    ):
        if value is not None and value > limit:
            yield (
                ("train", key),
                f"is {value}, but the run has {_counted(limit, unit)}: it is validated after the last epoch alone",
            )
    yield from _unreached_stairs(spec, epochs)


def _unreached_stairs(spec: ResolvedSpec, epochs: int) -> Iterator[tuple[Path, str]]:
    """Go through the epochs at which a schedule lowers the rate, and that do not come."""
    bound = spec.one("scheduler")
    parameters = bound.complete_parameters()
    has = f"but the run has {_counted(epochs, 'epoch')}"
    if bound.component.spec_name == "step" and parameters["step_size"] >= epochs:
        yield ("scheduler", "step_size"), f"is {parameters['step_size']}, {has}: the rate is never lowered"
    if bound.component.spec_name == "multi_step":
        late = [str(milestone) for milestone in sorted(parameters["milestones"]) if milestone >= epochs]
        if late:
            yield ("scheduler", "milestones"), f"{has.removeprefix('but ')}, and never comes to {list_some(late)}"


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
