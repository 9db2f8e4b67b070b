"""Pictures that are files, by name, each with its class: what most lists and published sets come down to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clscli.data.packed import PackedStrings
from clscli.data.remote import join
from clscli.data.samples import LabelSets, Sample


class Files:
    """Hold the names of pictures below `root`, a local folder or a URL, and their targets.

    `targets` are class indices, LabelSets where there may be several a picture, or None without labels.
    """

    divides_itself = False  # whether there are others like it for validation

    def __init__(
        self,
        root: str,
        names: Iterable[str] | PackedStrings,
        targets: Sequence[int] | LabelSets | None,
        classes: list[str],
    ) -> None:
        self.root = root
        self.classes = classes
        self.multi_label = isinstance(targets, LabelSets)
        self.targets = targets
        self.names = names if isinstance(names, PackedStrings) else PackedStrings(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        target = None if self.targets is None else self.targets[index]
        return Sample(join(self.root, self.names[index]), target)

    def name(self, index: int) -> str:
        """Name a picture by its path below the root."""
        return self.names[index]
