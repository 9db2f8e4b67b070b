"""What a user should know of a spec's pictures before training on them; behind `clscli data check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from clscli.data.catalog import open_split, open_training_data
from clscli.data.duplicates import find_copies
from clscli.data.inspection import Survey, survey
from clscli.data.layout import as_root, find_splits
from clscli.data.pipeline import build_transforms, output_shape
from clscli.data.split import View
from clscli.errors import DataError, SpecError
from clscli.observer import Observer
from clscli.reports.text import list_some
from clscli.spec import ResolvedSpec
from clscli.spec.starting_point import IMBALANCE


@dataclass(frozen=True)
class Finding:
    """Something to know, of a `kind` that scripts can rely on; `details` are lines of examples."""

    kind: str
    message: str
    details: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, str]:
        """Return it without its examples, which the document has in full elsewhere."""
        return {"kind": self.kind, "message": self.message}


@dataclass(frozen=True)
class Picture:
    """A picture that is there more than once."""

    split: str
    name: str
    label: str

    def __str__(self) -> str:
        return f"{self.name} ({self.split}, {self.label})"


@dataclass(frozen=True)
class Report:
    """All that was found: `problems` would stop a run, `notes` would not."""

    problems: list[Finding]
    notes: list[Finding] = field(default_factory=list)
    surveys: list[Survey] = field(default_factory=list)
    copies: list[list[Picture]] = field(default_factory=list)
    training_size: tuple[int, int] | None = None  # height and width that the training transforms leave

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of the model's outputs; none when the data cannot be opened."""
        return self.surveys[0].view.classes if self.surveys else []


def check_data(spec: ResolvedSpec, observer: Observer) -> Report:
    """Read all pictures that a spec names, and say what is wrong with them.

    Raises SpecError or PluginError when the transforms of the spec cannot be built.
    """
    transforms = build_transforms(spec, "train")
    try:
        data = open_training_data(spec)
        views = {"train": data.train, "val": data.val}
        if _has_test(spec):
            views["test"] = open_split(spec, "test", data.classes)
    except (SpecError, DataError) as error:
        return Report([Finding("data", str(error))])
    surveys = [survey(split, view, observer) for split, view in views.items()]
    copies = list(_named(surveys))
    _, height, width = output_shape(transforms, data.train)
    problems, notes = _unreadable(surveys, skipped=spec.spec.data.on_bad_image == "skip")
    notes += [Finding("data", note) for note in data.notes]
    notes += [*_copies(copies), *_small(surveys, height, width), *_imbalance(data.train)]
    return Report(problems, notes, surveys, copies, (height, width))


def _has_test(spec: ResolvedSpec) -> bool:
    root = spec.values["data"].get("root")
    return "test" in find_splits(as_root(root)) if root is not None else bool(spec.many("data", "test"))


def _unreadable(surveys: Sequence[Survey], *, skipped: bool) -> tuple[list[Finding], list[Finding]]:
    """Return what of the unreadable pictures would stop a run, and what would not."""
    details = [f"{s.view.name(i)}: {reason}" for s in surveys for i, reason in s.unreadable.items()]
    if not details:
        return [], []
    found = f"{len(details)} of {sum(len(s.view) for s in surveys)} pictures cannot be read"
    if not skipped:
        hint = 'mend or remove them, or set data.on_bad_image = "skip"'
        return [Finding("unreadable", f"{found} -- {hint}", details)], []
    train, val, *_ = surveys
    bad = Counter(name for index in train.unreadable for name in train.view.labels(index))
    counts = zip(train.view.classes, train.view.class_counts, strict=True)
    problems = []
    if gone := [name for name, count in counts if count == bad[name]]:
        problems.append(Finding("no_readable", f"no readable training pictures are left of: {list_some(gone)}"))
    if len(val.unreadable) == len(val.view):
        problems.append(Finding("no_readable", "no readable validation pictures are left"))
    return problems, [Finding("unreadable", f"{found}, and are skipped", details)]


def _named(surveys: Sequence[Survey]) -> Iterator[list[Picture]]:
    """Name the pictures of every group of copies; a data set may hold one file several times, which is none."""
    for group in find_copies(surveys):
        found = [(surveys[number], index) for number, index in group]
        pictures = dict.fromkeys(Picture(s.split, s.view.name(index), s.class_of(index)) for s, index in found)
        if len(pictures) > 1:
            yield list(pictures)


def _copies(groups: Sequence[Sequence[Picture]]) -> Iterator[Finding]:
    """Tell of files of the same content, the worst first; a group may be in several splits and several classes."""
    leaks = [group for group in groups if len({picture.split for picture in group}) > 1]
    doubtful = [group for group in groups if len({picture.label for picture in group}) > 1]
    plain = [group for group in groups if len({(picture.split, picture.label) for picture in group}) == 1]
    if leaks:
        advice = "keep each in one: a score on pictures seen in training says nothing"
        yield Finding("leak", f"{_are(leaks)} in several splits -- {advice}", _lines(leaks))
    if doubtful:
        yield Finding("labels", f"{_are(doubtful)} in several classes", _lines(doubtful))
    if plain:
        yield Finding("copies", f"{_are(plain)} more than once in one class of one split", _lines(plain))


def _are(groups: Sequence[Sequence[Picture]]) -> str:
    return f"{len(groups)} {'picture is' if len(groups) == 1 else 'pictures are'}"


def _lines(groups: Sequence[Sequence[Picture]]) -> list[str]:
    return [" = ".join(map(str, group)) for group in groups]


def _small(surveys: Sequence[Survey], height: int, width: int) -> Iterator[Finding]:
    count = sum(s.count_smaller(height, width) for s in surveys)
    if count:
        total = sum(len(s.view) for s in surveys)
        yield Finding(
            "small", f"{count} of {total} pictures are smaller than the {width} x {height} that training takes"
        )


def _imbalance(train: View) -> Iterator[Finding]:
    counts: dict[str, int] = dict(zip(train.classes, train.class_counts, strict=True))
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= IMBALANCE * max(1, counts[least]):
        fairer = "map or macro_f1" if train.multi_label else "macro_f1 or balanced_accuracy"
        yield Finding(
            "imbalance",
            f"{most!r} has {counts[most]} training pictures, {least!r} {counts[least]}: "
            f"{'micro_f1' if train.multi_label else 'top-1'} tells little of small classes -- look at {fairer}",
        )
