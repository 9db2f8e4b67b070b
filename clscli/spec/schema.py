"""What a user may write in a spec: its tables, keys and types.

Defaults are not here but in `defaults.toml`, the lowest layer that every spec is merged over. What a
component's table may hold besides `type` is the component's own affair: see `check.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from clscli.signature import ComponentTable
from clscli.toml import Path


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DataTable(_Table):
    """Where the pictures are, and how they are read."""

    root: Annotated[str, Field(min_length=1)] | None = None
    train: ComponentTable | None = None
    val: ComponentTable | None = None
    test: ComponentTable | None = None
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=1_000_000)]
    num_workers: Literal["auto"] | Annotated[int, Field(ge=0)]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    sampler: ComponentTable
    check_headers: bool  # of every picture, before the run
    on_bad_image: Literal["error", "skip"]
    cache: Literal["auto", "none", "memory", "disk", "device"]  # "auto": small pictures on the device
    scaled_decode: bool  # large JPEGs at 1/2, 1/4 or 1/8, where the first transform needs no more of them

    @property
    def images_per_batch(self) -> int:
        """The batch size as a number: a run settles "auto" before it starts, and saves the number."""
        assert self.batch_size != "auto", "batch_size is still to be settled"
        return self.batch_size


Channels = Annotated[list[float], Field(min_length=1)]


class MeanStd(_Table):
    """Normalisation by numbers of one's own: `(pixel / 255 - mean) / std`, one value for each channel."""

    mean: Channels
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


class TransformsTable(_Table):
    """What happens to a picture on its way into the model."""

    normalize: Literal["imagenet", "none"] | MeanStd
    train: list[ComponentTable]
    eval: list[ComponentTable]
    batch: list[ComponentTable]  # of whole batches in training, on the device


class ModelTable(_Table):
    """The model, from pixels to loss; necks follow each other, losses are added up."""

    backbone: ComponentTable
    neck: ComponentTable | list[ComponentTable]
    head: ComponentTable
    loss: ComponentTable | Annotated[list[ComponentTable], Field(min_length=1)]


# What the summary of an evaluation has; map and micro_f1 with several labels a picture, where top-k is not.
Monitor = Literal["top1", "top5", "macro_f1", "balanced_accuracy", "loss", "map", "micro_f1"]
_Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None


class TrainTable(_Table):
    """The run. A step is one of the optimizer: with accumulation, one for each group of batches."""

    epochs: Annotated[int, Field(ge=1)]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    compile: Literal["auto"] | bool  # "auto" does so in a long run of one process; of several, true alone does
    deterministic: bool
    strategy: Literal["ddp", "fsdp"]  # of several processes: a replica for each, or a part of one model
    sync_batch_norm: bool  # statistics over the slices of all processes, on CUDA
    accumulation_steps: Annotated[int, Field(ge=1)]
    clip_grad_norm: _Limit = None
    clip_grad_value: _Limit = None
    scale_lr: Literal["none", "linear", "sqrt"]
    base_batch_size: Annotated[int, Field(ge=1)]  # for which `optimizer.lr` is meant, when it is scaled
    freeze_epochs: Annotated[int, Field(ge=0)]  # so many first epochs train neck and head alone
    val_every: Annotated[int, Field(ge=1)]  # epochs
    val_every_steps: Annotated[int, Field(ge=1)] | None = None  # instead of `val_every`
    val_from_epoch: Annotated[int, Field(ge=1)]
    monitor: Monitor  # what makes an epoch the best
    init_from: Annotated[str, Field(min_length=1)] | None = None  # a checkpoint, for its weights only


class Spec(_Table):
    """A whole spec."""

    seed: Annotated[int, Field(ge=0)]
    data: DataTable
    transforms: TransformsTable
    model: ModelTable
    optimizer: ComponentTable
    scheduler: ComponentTable
    train: TrainTable
    hooks: list[ComponentTable] = []


# Where components stand in a spec, and of which kind they are.
SLOTS: dict[Path, str] = {
    ("data", "train"): "datasets",
    ("data", "val"): "datasets",
    ("data", "test"): "datasets",
    ("data", "sampler"): "samplers",
    ("transforms", "train"): "transforms",
    ("transforms", "eval"): "transforms",
    ("transforms", "batch"): "batch_transforms",
    ("model", "backbone"): "backbones",
    ("model", "neck"): "necks",
    ("model", "head"): "heads",
    ("model", "loss"): "losses",
    ("optimizer",): "optimizers",
    ("scheduler",): "schedulers",
    ("hooks",): "hooks",
}


# The slots that using a model needs; the others are for making one.
PREDICTING = frozenset(
    {("transforms", "eval"), ("model", "backbone"), ("model", "neck"), ("model", "head")},
)
EVALUATING = PREDICTING | {("model", "loss"), ("data", "train"), ("data", "val"), ("data", "test")}
EVERYTHING = frozenset(SLOTS)


class Slot(NamedTuple):
    """One component table in a spec."""

    path: Path
    kind: str
    table: dict[str, Any]


def component_tables(values: dict[str, Any], needed: Set[Path] = EVERYTHING) -> Iterator[Slot]:
    """Walk over the component tables in the `needed` slots of a spec; what is no table is passed over."""
    for path, kind in SLOTS.items():
        if path not in needed:
            continue
        value: Any = values
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        yield from _tables_at(path, kind, value)


def inner_tables(slot: Slot) -> Iterator[Slot]:
    """Walk over the tables with a `type` in a component's table, taken for components of the same kind."""
    for key, value in slot.table.items():
        yield from (inner for inner in _tables_at((*slot.path, key), slot.kind, value) if "type" in inner.table)


def _tables_at(path: Path, kind: str, value: Any) -> Iterator[Slot]:
    if isinstance(value, dict):
        yield Slot(path, kind, value)
    elif isinstance(value, list):
        for index, table in enumerate(value):
            if isinstance(table, dict):
                yield Slot((*path, index), kind, table)
