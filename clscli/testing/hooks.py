"""What is checked of hooks, for the most part in a real training of two epochs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from clscli.engine.hooks import find_no_event
from clscli.engine.trainer import train
from clscli.errors import ClscliError, Interrupted
from clscli.testing.case import Case, RuleError


class HookCase(Case):
    """A hook."""

    def check_events(self) -> None:
        """Look for the six events, and for names that are nearly theirs."""
        if (wrong := find_no_event(self.build())) is not None:
            raise RuleError(*wrong, is_fatal=True)  # no run takes it

    def check_attributes(self) -> None:
        """Look at their types."""
        hook = self.build()
        for name, wanted in (("priority", int), ("main_only", bool), ("needs_whole_model", bool)):
            value = getattr(hook, name, wanted())
            if type(value) is not wanted:
                advice = f"set it to a value of type {wanted.__name__}"
                raise RuleError(f"{name} is {value!r}", advice, is_fatal=name == "priority")  # no run takes it

    def check_run(self) -> None:
        """Train with it."""
        _ = self.kept

    @cached_property
    def kept(self) -> Any:
        """What it keeps in the checkpoint of a run of two epochs; None if that is nothing."""
        with tempfile.TemporaryDirectory() as folder:
            root, run = Path(folder, "pictures"), Path(folder, "run")
            _draw(root)
            try:
                train(_spec(root, self.bound.table()), out=run, device="cpu")
            except Interrupted:  # a hook may stop a run: it is saved all the same
                pass
            except ClscliError as error:
                raise RuleError(
                    f"a run of two epochs ends with: {error}",
                    "see clscli.engine.hooks.HookState for what an event is given",
                    is_fatal=True,
                ) from error
            return torch.load(run / "last.pth", weights_only=True)["training"]["hooks"][0]

    def check_state_dict(self) -> None:
        """Give another one what the first one kept, as a run that is resumed does."""
        if self.kept is None:
            return
        other = self.build()
        if not hasattr(other, "load_state_dict"):
            raise RuleError("it has state_dict, but no load_state_dict", "take back there what the other returns")
        other.load_state_dict(self.kept)
        if not _is_equal(other.state_dict(), self.kept):
            raise RuleError("one that loads it keeps something else", "set every value of the state again")


def _draw(root: Path) -> None:
    """Draw four pictures of each of two classes, for training and for validation."""
    for split in ("train", "val"):
        for number, shade in enumerate((60, 180)):
            folder = root / split / f"class{number}"
            folder.mkdir(parents=True)
            for index in range(4):
                Image.new("RGB", (16, 16), (shade + index, shade, shade)).save(folder / f"{index}.png")


def _spec(root: Path, hook: dict[str, Any]) -> dict[str, Any]:
    """Write the spec of a run that takes less than a second."""
    return {
        "data": {"root": str(root), "batch_size": 4, "num_workers": 0},
        "transforms": {"train": [], "eval": []},
        "model": {"backbone": {"type": "resnet18", "stem": "cifar", "base_channels": 4, "layers": [1, 1, 1, 1]}},
        "train": {"epochs": 2, "precision": "float32"},
        "hooks": [hook],
    }


def _is_equal(ours: Any, theirs: Any) -> bool:
    """Compare two states; a list is as good as a tuple."""
    if isinstance(ours, Tensor):
        return isinstance(theirs, Tensor) and torch.equal(ours, theirs)
    if isinstance(ours, Mapping):
        return (
            isinstance(theirs, Mapping)
            and ours.keys() == theirs.keys()
            and all(_is_equal(value, theirs[key]) for key, value in ours.items())
        )
    if isinstance(ours, list | tuple):
        return isinstance(theirs, list | tuple) and len(ours) == len(theirs) and all(map(_is_equal, ours, theirs))
    return bool(ours == theirs)
