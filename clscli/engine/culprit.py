"""Whose fault it is: the component in whose code an exception was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from clscli.engine.distributed import is_lost_connection
from clscli.engine.memory import is_out_of_memory
from clscli.engine.session import Session
from clscli.errors import ClscliError, PluginError, TrainingError, describe
from clscli.models.classifier import Classifier
from clscli.models.losses.total import TotalLoss
from clscli.signature import unwrap
from clscli.spec import Bound, ResolvedSpec


@contextmanager
def naming_components(spec: ResolvedSpec, when: str) -> Iterator[None]:
    """While entered, what a component raises is told under its name."""
    try:
        yield
    except ClscliError:
        raise
    except Exception as error:
        explained = blame(error, spec, when)
        if explained is None:
            raise
        raise explained from error


def blame(error: Exception, spec: ResolvedSpec, when: str) -> ClscliError | None:
    """Return what to raise for an exception that a component has raised; None when it says nothing about one.

    Of a built-in component that is a ValueError, such as for a target that a loss does not take. Whatever else
    one raises is a mistake of clscli's, which needs its traceback.
    """
    if is_out_of_memory(error) or (isinstance(error, RuntimeError) and is_lost_connection(error)):
        return None
    bound = find_culprit(error, spec)
    if bound is None:
        return None
    if not bound.component.is_core:
        return PluginError(f"{bound.component} failed {when}: {describe(error)}")
    return TrainingError(f"{bound.label} failed {when}: {describe(error)}") if type(error) is ValueError else None


def find_culprit(error: Exception, spec: ResolvedSpec) -> Bound | None:
    """Find the component that was at work, the innermost of several; None when there was none.

    That is the one whose object a method was called on, or else the one that comes from the module of a
    function: of a loss that is a function, or of a backward pass.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]
    owners = {id(part): bound for frame in frames for bound, part in _parts_seen(frame, spec)}
    for frame in frames:
        arguments = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        if arguments and (bound := owners.get(id(frame.f_locals.get(arguments[0])))):
            return bound
    modules = {_module_of(bound): bound for bound in spec.components.values()}
    return next((modules[name] for f in frames if (name := f.f_globals.get("__name__")) in modules), None)


def _parts_seen(frame: FrameType, spec: ResolvedSpec) -> Iterator[tuple[Bound, object]]:
    """Go through the components' objects within the model, a copy of it, or the session that a frame works on."""
    for value in frame.f_locals.values():
        if isinstance(value, Classifier):
            yield spec.one("model", "backbone"), value.backbone
            yield from zip(spec.many("model", "neck"), value.necks, strict=True)
            yield spec.one("model", "head"), value.head
        elif isinstance(value, Session):
            losses = value.loss.losses if isinstance(value.loss, TotalLoss) else [value.loss]
            yield from zip(spec.many("model", "loss"), losses, strict=True)
            yield from zip(spec.many("transforms", "batch"), value.batch_transforms.transforms, strict=True)
            yield spec.one("optimizer"), value.optimizer
            yield spec.one("scheduler"), value.schedule


def _module_of(bound: Bound) -> Any:
    return getattr(unwrap(bound.function), "__module__", None)
