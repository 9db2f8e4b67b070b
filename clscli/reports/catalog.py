"""`clscli list backbones --long`: what each backbone is and costs, computed from the code itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clscli.errors import ClscliError, describe
from clscli.models.published import published
from clscli.plugins import KINDS, Component, load
from clscli.reports.text import format_table, list_some
from clscli.signature import read_parameters, unwrap
from clscli.spec import Bound
from clscli.spec.check import BACKBONE

# What ImageNet models are compared at, if the backbone or its weights do not say otherwise.
_DEFAULT_SIZE = 224


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue; `note` says why numbers are missing."""

    component: Component
    family: str = "-"
    image_size: int | None = None
    parameters: int | None = None
    flops: int | None = None  # multiply-adds of one image, as papers and torchvision count them
    weights: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    paper: str = "-"
    note: str = "-"

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` adds to a component's row."""
        return {
            "family": self.family,
            "image_size": self.image_size,
            "parameters": self.parameters,
            "flops": self.flops,
            "weights": list(self.weights),
            "licences": list(self.licences),
            "paper": self.paper,
            "note": self.note,
        }


def describe_backbone(component: Component) -> Entry:
    """Build a backbone on the meta device and count; what is wrong with a broken one is its entry's note."""
    try:
        function = load(component)
        parameters = read_parameters(function, KINDS[component.kind].injected)
        bound = Bound(component, function, parameters, {}, {}, BACKBONE)
        own = bound.complete_parameters()
        weights = published(component, own)
        size = own.get("image_size") or (weights[0].input_size if weights else _DEFAULT_SIZE)
        num_parameters, flops, note = _count(bound, size)
    except ClscliError as error:
        return Entry(component, note=str(error))
    except Exception as error:
        return Entry(component, note=describe(error))
    return Entry(
        component,
        family=getattr(unwrap(function), "__name__", "-"),
        image_size=size,
        parameters=num_parameters,
        flops=flops,
        weights=tuple(w.name for w in weights),
        licences=tuple(dict.fromkeys(w.licence for w in weights)),
        paper=str(bound.attribute("paper") or "-"),
        note=note,
    )


def _count(bound: Bound, size: int) -> tuple[int, int | None, str]:
    """Return parameters, multiply-adds and a note; what needs real numbers in its forward is not counted."""
    with torch.device("meta"):
        module: nn.Module = bound.call(in_channels=3)
    num_parameters = sum(p.numel() for p in module.parameters())
    module.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.empty(1, 3, size, size, device="meta"))
    except Exception as error:
        return num_parameters, None, f"not counted at {size}x{size}: {describe(error)}"
    return num_parameters, counter.get_total_flops() // 2, "-"


def format_catalog(entries: list[Entry]) -> str:
    """Lay the catalogue out as a table."""
    rows = [
        (
            entry.component.name,
            entry.family,
            f"{entry.component.dist} {entry.component.version}",
            "-" if entry.parameters is None else f"{entry.parameters / 1e6:.2f}",
            "-" if entry.flops is None else f"{entry.flops / 1e9:.2f}",
            str(entry.image_size or "-"),
            list_some(entry.weights, 3) or "-",
            ", ".join(entry.licences) or "-",
            entry.paper,
            entry.note,
        )
        for entry in entries
    ]
    header = ("NAME", "FAMILY", "FROM", "PARAMS M", "GFLOPS", "SIZE", "WEIGHTS", "LICENCE", "PAPER", "NOTE")
    table = format_table(header, rows, right=(3, 4, 5))
    return (
        f"{table}\n\nPARAMS: millions, without the head. GFLOPS: 10^9 multiply-adds for one image of SIZE pixels "
        "squared. LICENCE: of the weights."
    )
