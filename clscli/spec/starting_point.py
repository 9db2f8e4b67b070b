"""From pictures and a backbone to the decisions of a first training: the rules behind `clscli init`.

They are a start, not an optimum. A number without a source is a rule of thumb, in the range of the presets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Up to the 64 pixels of Tiny ImageNet, networks with a 3x3 stem are published, and learn from nothing.
SMALL_SIDE = 64
# Training pictures in the middle one of the classes by size.
FEW_PER_CLASS, MANY_PER_CLASS = 50, 1000
# The mildest imbalance, largest class to smallest, of the long-tailed CIFAR benchmarks (Cao et al., 2019).
IMBALANCE = 10
# With fewer pictures batch norm suffers (Wu and He, "Group Normalization", 2018, figure 1).
SMALLEST_BATCH = 8
LEAST_STEPS = 10  # an epoch

# Up to so many training pictures, so many epochs: the fewer there are, the more often each has to be seen.
FINE_TUNING = ((1_000, 50), (10_000, 30), (100_000, 15), (math.inf, 10))
# CIFAR-10's 50,000 take 24 (Page, "How to train your ResNet", 2018).
FROM_NOTHING_SMALL = ((5_000, 100), (20_000, 50), (math.inf, 30))
# As ImageNet in recipe A3 of "ResNet strikes back" (Wightman et al., 2021).
FROM_NOTHING = 100
# Up to so many pictures, the share to validate on: 5,000 tell top-1 to within 1.4 points.
VAL_FRACTIONS = ((25_000, 0.2), (50_000, 0.1), (math.inf, 0.05))


@dataclass(frozen=True)
class Pictures:
    """What the rules look at. Only pictures that can be read are counted."""

    class_counts: Mapping[str, int]  # for training; where none are set aside for validation, all there are
    num_val: int | None  # None: to be split off
    sides: tuple[int, int, int]  # of the shorter sides in pixels: the shortest, the middle one, the longest
    one_size: tuple[int, int] | None  # height and width, where all have the same
    num_unreadable: int = 0

    @property
    def total(self) -> int:
        """All that the classes count."""
        return sum(self.class_counts.values())

    @property
    def val_fraction(self) -> float:
        """The share to split off for validation; 0 where there are pictures for it."""
        return _up_to(VAL_FRACTIONS, self.total) if self.num_val is None else 0.0

    @property
    def num_train(self) -> int:
        """Training pictures, nearly: every class is split apart from the others."""
        return round(self.total * (1 - self.val_fraction))

    @property
    def per_class(self) -> int:
        """Pictures in the middle one of the classes by size."""
        return sorted(self.class_counts.values())[len(self.class_counts) // 2]

    @property
    def extremes(self) -> tuple[int, int]:
        """Pictures in the smallest and in the largest class."""
        return min(self.class_counts.values()), max(self.class_counts.values())

    @property
    def are_imbalanced(self) -> bool:
        """Whether some classes are rare beside others."""
        least, most = self.extremes
        return most >= IMBALANCE * least

    @property
    def are_small(self) -> bool:
        """Whether networks for small pictures are meant for them."""
        return self.sides[1] <= SMALL_SIDE

    @property
    def have_sides(self) -> bool:
        """Whether, by their names, classes change in a mirror: digits and letters, left and right."""
        names = [name.rpartition("/")[2].lower() for name in self.class_counts]
        words = {word for name in names for word in re.split(r"[^a-z]+", name)}
        return bool(words & {"left", "right"}) or all(len(name) == 1 for name in names)

    def describe(self) -> str:
        """Say in a line what was found."""
        least, most = self.extremes
        each = f"{least} of each" if least == most else f"{least} to {most} of each"
        kind = "pictures" if self.num_val is None else f"training and {self.num_val} validation pictures"
        low, middle, high = self.sides
        size = f"{low} pixels" if low == high else f"{low} to {high} pixels, median {middle}"
        return f"{self.total} {kind} of {len(self.class_counts)} classes, {each}; shorter side {size}"


class PublishedFile(NamedTuple):
    """A file of published weights."""

    name: str
    source: str
    licence: str
    megabytes: float | None
    url: str
    place: str  # in the cache
    is_here: bool
    crop: int
    interpolation: str


@dataclass(frozen=True)
class Network:
    """A backbone, as far as the rules ask."""

    name: str
    why: str  # it is this one
    parameters: frozenset[str] = frozenset()  # those that a spec may set
    has_small_stem: bool = False  # to be chosen, as `stem = "cifar"`
    is_halved: bool = False  # in depth, with a small stem
    lists_layers: bool = False  # so that each may have a learning rate of its own
    weights: PublishedFile | None = None


def usual_backbone(pictures: Pictures, *, on_gpu: bool) -> tuple[str, str]:
    """Choose a backbone by the pictures' size and by the machine; return its name and the reason."""
    if pictures.are_small:
        why = "The usual first network for small pictures."
        if pictures.per_class < MANY_PER_CLASS:
            why += (
                " With so few, a backbone that knows ImageNet makes more of them, enlarged to its size, but takes "
                "far more time: clscli init --backbone convnext_tiny"
            )
        return "resnet18", why
    if on_gpu:
        return "convnext_tiny", "82.5 % on ImageNet with about the computing of a ResNet-50, which has 80.9 %."
    return (
        "mobilenet_v3_large",
        "75.3 % on ImageNet with an eighth of a ResNet-18's computing: there is no GPU here. "
        'On a machine that has one, "convnext_tiny" gives 82.5 %.',
    )


class StartingPoint:
    """The decisions about some pictures and a backbone, from what the training starts above all."""

    def __init__(self, pictures: Pictures, network: Network) -> None:
        self.pictures = pictures
        self.network = network
        self.small_stem = pictures.are_small and network.has_small_stem
        # Small pictures keep their own size, unless the backbone has weights, and these want another.
        self.is_native = self.small_stem or (pictures.are_small and network.weights is None)
        self.weights = None if self.is_native else network.weights

    @property
    def batch_size(self) -> int:
        """As in the presets for such pictures, or halved until an epoch has enough steps."""
        size = 32 if self.weights else 128 if self.is_native else 64
        while size > SMALLEST_BATCH and self.pictures.num_train / size <= LEAST_STEPS - 1:
            size //= 2
        return size

    @property
    def size_as_it_is(self) -> tuple[int, int] | None:
        """Height and width in which native pictures are taken as they are."""
        size = self.pictures.one_size
        return size if self.is_native and size is not None and min(size) >= self.smallest_side else None

    @property
    def smallest_side(self) -> int:
        """Of native pictures: CIFAR's, for which small networks are made, LeNet-5 among them."""
        return 8 if self.small_stem else 32

    @property
    def side(self) -> int:
        """Of other native pictures, the one to bring them to: a multiple of the network's strides."""
        return max(self.smallest_side, -(-self.pictures.sides[1] // 8) * 8)

    @property
    def epochs(self) -> int:
        """By how many pictures there are to see."""
        if self.weights:
            return int(_up_to(FINE_TUNING, self.pictures.num_train))
        return int(_up_to(FROM_NOTHING_SMALL, self.pictures.num_train)) if self.is_native else FROM_NOTHING

    @property
    def frozen_stages(self) -> int:
        """Of few pictures, none are spent on stages that see edges and textures, as ImageNet's do."""
        is_possible = self.weights is not None and "frozen_stages" in self.network.parameters
        return 2 if is_possible and self.pictures.per_class < FEW_PER_CLASS else 0

    @property
    def layer_decay(self) -> float | None:
        """Many pictures may change more of the backbone; ConvNeXts take 0.7 to 0.9 (Liu et al., 2022)."""
        if not self.network.lists_layers:
            return None
        return 0.9 if self.pictures.per_class >= MANY_PER_CLASS else 0.8

    def describe(self) -> str:
        """Say in a line how the training begins."""
        how = f"fine-tuned from {self.weights.name}" if self.weights else "from nothing"
        return f"{self.network.name}, {how}, in {self.epochs} epochs with batches of {self.batch_size}"


def _up_to(table: Sequence[tuple[float, float]], number: int) -> float:
    """Look up the first row whose limit is not below a number."""
    return next(value for limit, value in table if number <= limit)
