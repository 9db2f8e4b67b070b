"""How tensors from elsewhere fit a backbone: prefixes, other libraries' names, other channels and sizes.

A backbone helps with two optional attributes, which any package's backbone may have:

- `key_maps`, for each library the rules that turn its names into the backbone's own;
- `adapt_weights(tensors)`, called with renamed tensors, for what renaming cannot do: an embedding of another
  grid, a matrix that is stored in two halves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Pairs of a regular expression and what replaces it (as in `re.sub`), applied to every name in this order.
KeyMap = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]

# What trainers and wrappers put before the names.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")


class Match(NamedTuple):
    """How a file of weights fits a backbone."""

    fitting: dict[str, Tensor]  # under the backbone's names, with its shapes
    adapted: dict[str, tuple[torch.Size, torch.Size]]  # of those: the shape in the file, the shape here
    missing: list[str]  # of the backbone, not in the file
    misshapen: list[str]  # in both, with different shapes
    unused: list[str]  # in the file only


def match_weights(tensors: Mapping[str, Tensor], backbone: nn.Module) -> Match:
    """Fit tensors to a backbone, under the prefix and the library's names that fit most of them."""
    matches = (_match(names, tensors, backbone) for names in _renamings(tensors, backbone))
    return max(matches, key=lambda match: len(match.fitting))


def _renamings(tensors: Mapping[str, Tensor], backbone: nn.Module) -> Iterator[dict[str, str]]:
    """Yield the ways to read the names in a file: from the backbone's name to the file's."""
    plain: list[dict[str, str]] = [{name: name for name in tensors}]
    for prefix in _PREFIXES:
        for names in list(plain):
            if any(name.startswith(prefix) for name in names):
                plain.append({name.removeprefix(prefix): original for name, original in names.items()})
    key_maps: Mapping[str, KeyMap] = getattr(backbone, "key_maps", {})
    for names in plain:
        yield names
        for key_map in key_maps.values():
            yield {_rename(name, key_map): original for name, original in names.items()}


def _rename(name: str, key_map: KeyMap) -> str:
    for pattern, replacement in key_map:
        name = re.sub(pattern, replacement, name)
    return name


def _match(names: dict[str, str], tensors: Mapping[str, Tensor], backbone: nn.Module) -> Match:
    own = backbone.state_dict()
    renamed = {name: tensors[original] for name, original in names.items()}
    adapt = getattr(backbone, "adapt_weights", None)
    candidates: Mapping[str, Tensor] = adapt(renamed) if adapt is not None else renamed
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
        missing=[n for n in own if n not in candidates and not n.endswith(".num_batches_tracked")],
        misshapen=[n for n in candidates if n in own and n not in fitting],
        unused=[n for n in candidates if n not in own],
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
