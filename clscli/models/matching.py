"""How tensors from elsewhere fit a backbone: prefixes, other libraries' names, other channels and sizes.

A backbone helps with two optional attributes, which any package's backbone may have:

- `key_maps`, for each library the rules that turn its names into the backbone's own;
- `adapt_weights(tensors)`, called with renamed tensors, for what renaming cannot do: an embedding of another
  grid, a matrix that is stored in two halves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Pairs of a regular expression and what replaces it (as in `re.sub`), applied to every name in this order.
KeyMap = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]

# What trainers and wrappers put before the names.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "necks.0.")


class Match(NamedTuple):
    """How a file of weights fits a backbone."""

    fitting: dict[str, Tensor]  # under the backbone's names, with its shapes
    adapted: dict[str, tuple[torch.Size, torch.Size]]  # of those: the shape in the file, the shape here
    missing: list[str]  # of the backbone, not in the file
    misshapen: list[str]  # in both, with different shapes
    unused: dict[str, torch.Size]  # in the file only
    claimed: frozenset[str] = frozenset()  # the file's own names of all that begins like a name of the module


def match_weights(tensors: Mapping[str, Tensor], backbone: nn.Module) -> Match:
    """Fit tensors to a backbone, or a neck, under the prefix and the library's names that fit most of them."""
    own = backbone.state_dict()
    matches = (_match(names, tensors, own, backbone) for names in _renamings(list(tensors), backbone))
    return max(matches, key=lambda match: len(match.fitting))


def counted(names: Iterable[str]) -> list[str]:
    """Leave out the counters of batch norms, which files from before they existed do not have."""
    return [name for name in names if not name.endswith("num_batches_tracked")]


def _renamings(tensors: list[str], backbone: nn.Module) -> list[list[str]]:
    """List the ways to read the names in a file, each with a name for every tensor; no two are the same."""
    plain = [tensors]
    for names in plain:  # it grows: one prefix may stand behind another
        shorter = ([name.removeprefix(prefix) for name in names] for prefix in _PREFIXES)
        plain += [fewer for fewer in shorter if fewer not in plain]
    key_maps: Mapping[str, KeyMap] = getattr(backbone, "key_maps", {})
    mapped = [[_rename(name, key_map) for name in names] for names in plain for key_map in key_maps.values()]
    return [list(names) for names in dict.fromkeys(map(tuple, plain + mapped))]


def _rename(name: str, key_map: KeyMap) -> str:
    for pattern, replacement in key_map:
        name = re.sub(pattern, replacement, name)
    return name


def _match(
    names: list[str], tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], backbone: nn.Module
) -> Match:
    renamed = dict(zip(names, tensors.values(), strict=True))
    adapt = getattr(backbone, "adapt_weights", None)
    candidates: Mapping[str, Tensor] = adapt(renamed) if adapt is not None else renamed
    parts = {name.split(".")[0] for name in own}
    fitting = {}
    for name, tensor in candidates.items():
        if name in own:
            tensor = adapt_channels(tensor, own[name].shape)
            if tensor.shape == own[name].shape:
                fitting[name] = tensor
    return Match(
        fitting,
        adapted={
            name: (renamed[name].shape, tensor.shape)
            for name, tensor in fitting.items()
            if name in renamed and renamed[name].shape != tensor.shape
        },
        missing=[name for name in counted(own) if name not in candidates],
        misshapen=[name for name in candidates if name in own and name not in fitting],
        unused={name: tensor.shape for name, tensor in candidates.items() if name not in own},
        claimed=frozenset(
            original for name, original in zip(names, tensors, strict=True) if name.split(".")[0] in parts
        ),
    )


def adapt_channels(weight: Tensor, shape: torch.Size) -> Tensor:
    """Make a first convolution for RGB (O, 3, h, w) one for other channels, if that is all that differs.

    For one channel the three are summed, so that a gray picture gives what it gave as RGB; for more they
    are repeated and scaled, so that the sum keeps its size.
    """
    differs = weight.ndim == len(shape) == 4 and weight.shape[1] == 3 != shape[1]
    if not differs or (weight.shape[0], *weight.shape[2:]) != (shape[0], *shape[2:]):
        return weight
    if shape[1] == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, torch.arange(shape[1]) % 3] * (3 / shape[1])
