"""Files that are there more than once, found by the hashes of their contents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from clscli.data.inspection import DIGEST_BYTES, Survey


class Copy(NamedTuple):
    """One of several files of the same content: a survey by its number, and a sample of its view."""

    survey: int
    sample: int


def find_copies(surveys: Sequence[Survey]) -> Iterator[list[Copy]]:
    """Yield groups of pictures of one content, within and across splits, in the order of their first ones."""
    groups: dict[bytes, list[Copy]] = defaultdict(list)
    starts = list(accumulate((len(survey.view) for survey in surveys), initial=0))
    for position in _suspects(surveys).tolist():
        number = max(n for n in range(len(surveys)) if starts[n] <= position)
        found = Copy(number, position - starts[number])
        if found.sample not in surveys[number].unreadable:
            start = found.sample * DIGEST_BYTES
            groups[bytes(surveys[number].digests[start : start + DIGEST_BYTES])].append(found)
    return (group for group in groups.values() if len(group) > 1)


def _suspects(surveys: Sequence[Survey]) -> Tensor:
    """Return the positions, over all surveys, of digests that share their first half with another one.

    Sorting numbers takes a fraction of the memory of a dictionary of all digests.
    """
    columns = [torch.frombuffer(survey.digests, dtype=torch.int64)[::2] for survey in surveys if survey.digests]
    if not columns:
        return torch.empty(0, dtype=torch.int64)
    values, order = torch.cat(columns).sort()
    same = values[1:] == values[:-1]
    nothing = torch.zeros(1, dtype=torch.bool)
    return order[torch.cat([same, nothing]) | torch.cat([nothing, same])].sort().values
