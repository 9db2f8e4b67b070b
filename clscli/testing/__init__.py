"""The kit with which authors of components test them; clscli's own are tested with it, too.

    from clscli.testing import check_component

    def test_tinyvit():
        check_component("backbones", "tinyvit", width=16)

It needs no test framework: what is broken is one `ContractError`, an AssertionError that names every broken rule,
what was found, and what to do. The rules are those of `clscli.contracts`, a page for each kind in
`plugins_example/contracts`; each of them is a method `check_<rule>` here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clscli import plugins
from clscli.contracts import COMMON, CONTRACTS
from clscli.errors import describe
from clscli.testing import entry
from clscli.testing.backbones import BackboneCase
from clscli.testing.case import Case, Inputs, RuleError
from clscli.testing.data import DatasetCase, SamplerCase
from clscli.testing.heads import HeadCase, NeckCase
from clscli.testing.hooks import HookCase
from clscli.testing.losses import LossCase
from clscli.testing.optimizers import OptimizerCase
from clscli.testing.schedules import SchedulerCase
from clscli.testing.transforms import BatchTransformCase, TransformCase

__all__ = ["ContractError", "Inputs", "check_component"]

CASES: dict[str, type[Case]] = {
    "backbones": BackboneCase,
    "necks": NeckCase,
    "heads": HeadCase,
    "losses": LossCase,
    "transforms": TransformCase,
    "batch_transforms": BatchTransformCase,
    "datasets": DatasetCase,
    "samplers": SamplerCase,
    "optimizers": OptimizerCase,
    "schedulers": SchedulerCase,
    "hooks": HookCase,
}

_DEFAULT_INPUTS = Inputs()


class ContractError(AssertionError):
    """A component breaks its contract; `broken` has what was found and what to do, by the names of the rules."""

    def __init__(self, label: str, broken: dict[str, str], sentences: dict[str, str]) -> None:
        lines = [f"  {rule}: {found}\n    the rule: {sentences[rule]}" for rule, found in broken.items()]
        super().__init__("\n".join([f"{label} breaks its contract", *lines]))
        self.broken = broken


def check_component(kind: str, name: str, inputs: Inputs = _DEFAULT_INPUTS, /, **parameters: Any) -> None:
    """Try an installed component by every rule of its kind's contract.

    `kind` is that of its entry-point group, such as "backbones"; `name` is what a spec writes, `dist:name` where
    clscli has the bare name itself; `parameters` are what a spec may set, components within as tables. `inputs`
    says what it is tried with where the usual sizes do not fit.

    Raises ContractError with all broken rules, and ValueError for a kind that does not exist.
    """
    if kind not in CASES:
        raise ValueError(f"no kind {kind!r} -- there are: {', '.join(CASES)}")
    broken: dict[str, str] = {}
    label = f"{plugins.KINDS[kind].singular} '{name}'"
    try:
        component = entry.find(kind, name)
    except RuleError as error:
        broken["name"] = str(error)
    else:
        label = f"{label} ({component.dist} {component.version})"
        bound = entry.bind_checked(component, parameters, broken)
        if bound is not None:
            _check_rules(CASES[kind](bound, inputs), CONTRACTS[kind].rules, broken)
    if broken:
        raise ContractError(label, broken, {**COMMON, **CONTRACTS[kind].rules})


def _check_rules(case: Case, rules: Iterable[str], broken: dict[str, str]) -> None:
    """Try all rules, until the component fails in a way that would spoil the rest as well."""
    for rule in ("builds", *rules):
        try:
            getattr(case, f"check_{rule}")()
        except RuleError as error:
            broken[rule] = str(error)
            if error.is_fatal:
                return
        except Exception as error:
            broken[rule] = f"it failed with {describe(error)} -- nothing after this rule was tried"
            return
