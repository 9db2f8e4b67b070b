"""One component under test: how it is built, and how a check says what is broken."""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from clscli.errors import describe
from clscli.seeds import seeded
from clscli.spec.binding import Bound, map_elements

NUM_CLASSES = 5


@dataclass(frozen=True)
class Inputs:
    """What a component is tried with, where the usual does not fit it.

    `image_sizes` are those of a backbone's pictures, (height, width). `features` are the shapes of a neck's or a
    head's inputs without the batch, such as ((8, 14, 14), (16, 7, 7)) or ((16,),); None: whichever it takes of
    maps and vectors.
    """

    image_sizes: tuple[tuple[int, int], ...] = ((64, 64), (64, 96))
    features: tuple[tuple[int, ...], ...] | None = None


class RuleError(Exception):
    """A rule is broken: what was found, and what to do."""

    def __init__(self, found: str, advice: str, *, is_fatal: bool = False) -> None:
        super().__init__(f"{found} -- {advice}")
        self.is_fatal = is_fatal  # whether the rest could only fail for the same reason


class Case:
    """A component with its parameters; a subclass has a method `check_<rule>` for each rule of its kind."""

    injected: Mapping[str, Any] = {}

    def __init__(self, bound: Bound, inputs: Inputs) -> None:
        self.bound = bound
        self.inputs = inputs

    def build(self, seed: int = 0, **injected: Any) -> Any:
        """Build the component anew; `injected` takes the place of what it is usually given."""
        with seeded(seed):
            return _build(self.bound, {**self.injected, **injected})

    def check_builds(self) -> None:
        """Build it once."""
        try:
            self.build()
        except Exception as error:
            raise RuleError(
                f"building it fails with {describe(error)}",
                "give each parameter a default, or check_component the parameters that it needs",
                is_fatal=True,
            ) from error


def _build(bound: Bound, injected: Mapping[str, Any]) -> Any:
    """Call a component after those within it, as `ResolvedSpec.construct` does, but let every error through."""
    passed_on = {**injected, **(bound.attribute("passes_on") or {})}
    kwargs = {
        name: map_elements(lambda v, _: _build(v, passed_on) if isinstance(v, Bound) else v, value)
        for name, value in bound.kwargs.items()
    }
    return dataclasses.replace(bound, kwargs=kwargs).call(**injected)


def pickled(component: Any) -> Any:
    """Return what another process would get."""
    try:
        return pickle.loads(pickle.dumps(component))
    except Exception as error:
        raise RuleError(
            f"pickling it fails with {describe(error)}",
            "keep no lambda, open file or local class in it; classes and functions belong at the top of a module",
        ) from error


def saved_and_loaded(state: Any) -> Any:
    """Return what a checkpoint would give back."""
    file = io.BytesIO()
    try:
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)
    except Exception as error:
        raise RuleError(
            "a checkpoint cannot give it back: " + describe(error).split(". ")[0],
            "keep tensors, numbers, strings, lists and dicts in it",
        ) from error
