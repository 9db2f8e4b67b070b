"""Everything that can go wrong before the first step, done before the first step; `--dry-run` shows it."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from clscli.data.batch_transforms import BatchTransforms, build_batch_transforms
from clscli.data.catalog import TrainingData, open_training_data
from clscli.data.order import num_batches
from clscli.data.pipeline import build_transforms, output_shape
from clscli.data.readable import SKIPPED, only_readable, read_skipped, without_skipped
from clscli.data.samplers import Sampler, build_sampler
from clscli.data.transforms.contract import Transform
from clscli.engine.accumulation import steps_per_epoch
from clscli.engine.checkpoint import Checkpoint
from clscli.engine.groups import build_optimizer
from clscli.engine.hooks import find_no_event
from clscli.engine.initial_weights import find_initial
from clscli.engine.label_mode import check_label_mode
from clscli.engine.schedules import build_schedule, check_factors, check_momentum
from clscli.engine.teacher import teachers_for
from clscli.errors import PluginError, SpecError, describe
from clscli.models.build import Blueprint, Stage, build_loss, build_model, check_shapes
from clscli.models.classifier import Classifier
from clscli.models.losses.contract import LoadTeacher, Loss
from clscli.models.weights import find_pretrained
from clscli.observer import Observer, seen_or_logged
from clscli.seeds import seed_for
from clscli.spec import ResolvedSpec
from clscli.spec.check import for_label_sets
from clscli.toml import dotted

log = logging.getLogger("clscli")


@dataclass(frozen=True)
class Plan:
    """A run that is ready to start: pictures found, transforms and model built, shapes proven."""

    spec: ResolvedSpec
    data: TrainingData
    train_transforms: list[Transform]
    eval_transforms: list[Transform]
    batch_transforms: BatchTransforms
    blueprint: Blueprint
    model: Classifier
    stages: list[Stage]
    sampler: Sampler  # of the training pictures
    load_teacher: LoadTeacher
    initial: Checkpoint | None  # what the run begins from, until it has begun

    def build_loss(self) -> Loss:
        """Build the loss to train with."""
        return _build_loss(self.spec, self.data, self.load_teacher)

    @property
    def num_parameters(self) -> int:
        """All parameters of the model, trained or frozen."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def num_trained(self) -> int:
        """The parameters that training changes."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def prepare(spec: ResolvedSpec, run: Path | None = None, observer: Observer | None = None) -> Plan:
    """Find the pictures and build the model; `run` is the directory of a run that is resumed.

    Raises SpecError, PluginError or DataError for anything that would stop the run later.
    """
    data = open_training_data(spec, run)
    if data.train.multi_label:
        spec = for_label_sets(spec)
    sampler = build_sampler(spec, data.train)
    train_transforms = build_transforms(spec, "train")
    eval_transforms = build_transforms(spec, "val")
    blueprint = Blueprint(len(data.classes), output_shape(eval_transforms, data.train))
    batch_transforms = build_batch_transforms(spec, blueprint.num_classes, multi_label=data.train.multi_label)
    torch.manual_seed(seed_for(spec.spec.seed, "weights"))
    model = build_model(spec, blueprint)
    stages = check_shapes(spec, model, blueprint)
    load_teacher, initial = teachers_for(data.classes, blueprint.image_shape[0]), None
    if run is None:
        _try_the_rest(spec, data, len(sampler), blueprint, model, load_teacher)
        initial = find_initial(spec)
        if initial is None:
            find_pretrained(spec)
        _check_smallest_batch(spec, model, len(sampler), output_shape(train_transforms, data.train))
    for note in [*spec.draft.notes, *data.notes]:
        log.info("note: %s", note)
    usable = _usable(spec, data, run, observer)
    if usable is not data:
        sampler = build_sampler(spec, usable.train)
    return Plan(
        spec,
        usable,
        train_transforms,
        eval_transforms,
        batch_transforms,
        blueprint,
        model,
        stages,
        sampler,
        load_teacher,
        initial,
    )


def _usable(spec: ResolvedSpec, data: TrainingData, run: Path | None, observer: Observer | None) -> TrainingData:
    """Leave out the pictures that cannot be read, or that a resumed run has left out since it began."""
    options = spec.spec.data
    if run is not None and (run / SKIPPED).is_file():
        return without_skipped(data, read_skipped(run / SKIPPED))
    was_checked = run is not None and options.on_bad_image == "error"
    if was_checked or not options.check_headers:
        return data
    return only_readable(data, options.on_bad_image, seen_or_logged(observer))


def _try_the_rest(
    spec: ResolvedSpec,
    data: TrainingData,
    epoch_length: int,
    blueprint: Blueprint,
    model: Classifier,
    load_teacher: LoadTeacher,
) -> None:
    """Build what the training will build again, only to find now what its components refuse."""
    loss = _build_loss(spec, data, load_teacher)
    check_label_mode(spec, data.train, model, loss)
    mixed = data.train.multi_label or bool(spec.many("transforms", "batch"))
    _try_loss(spec, loss, blueprint.num_classes, mixed=mixed)
    _check_freezing(spec, model)
    optimizer = build_optimizer(spec, model)
    num_steps = steps_per_epoch(num_batches(epoch_length, _expected_batch(spec)), spec.spec.train)
    schedule = build_schedule(spec, num_steps)
    check_momentum(spec, schedule, optimizer)
    check_factors(spec, schedule, num_steps * spec.spec.train.epochs)
    _try_hooks(spec)


def _build_loss(spec: ResolvedSpec, data: TrainingData, load_teacher: LoadTeacher) -> Loss:
    return build_loss(spec, data.train.class_counts, load_teacher, num_samples=len(data.train))


def _try_hooks(spec: ResolvedSpec) -> None:
    """Build every hook. Raises SpecError with what each refuses, PluginError for one that nothing would call."""
    problems: list[str] = []
    for bound in spec.many("hooks"):
        try:
            hook = spec.construct(bound)
        except SpecError as error:
            problems += error.problems
            continue
        if wrong := find_no_event(hook):
            raise PluginError(f"{bound.component} breaks its contract: {' -- '.join(wrong)}")
        if not isinstance(priority := getattr(hook, "priority", 0), int):
            raise PluginError(f"{bound.component} breaks its contract: priority must be an int, not {priority!r}")
    averages = [bound for bound in spec.many("hooks") if bound.component.spec_name == "ema"]
    for bound in averages[1:]:
        first = dotted(averages[0].path)
        message = f"{bound.label} is there already, as {first} -- only one average can be judged"
        problems.append(spec.problem(bound.path, message))
    if problems:
        raise SpecError(problems)


def _expected_batch(spec: ResolvedSpec) -> int:
    """Return the batch size, or while that is still to be settled, a common one."""
    batch_size = spec.spec.data.batch_size
    return 64 if batch_size == "auto" else batch_size


def _check_smallest_batch(
    spec: ResolvedSpec, model: Classifier, pictures: int, image_shape: tuple[int, int, int]
) -> None:
    """Refuse batches of one picture where a norm gets a single value of each channel from it."""
    size = _expected_batch(spec)
    if pictures // num_batches(pictures, size) > 1:
        return
    try:
        with torch.no_grad():
            copy.deepcopy(model).train()(torch.zeros(1, *image_shape, dtype=torch.uint8))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        message = (
            f"{size} makes batches of a single picture, of which a norm of this model sees one value in each "
            "channel, too few to train -- take larger batches, or larger pictures"
        )
        raise spec.error(("data", "batch_size"), message) from error


def _check_freezing(spec: ResolvedSpec, model: Classifier) -> None:
    """Refuse to freeze all that there is to train."""
    rest = [*model.necks.parameters(), *model.head.parameters()]
    if spec.spec.train.freeze_epochs and not any(parameter.requires_grad for parameter in rest):
        message = "with the backbone frozen there is nothing to train: neck and head have no parameters"
        raise spec.error(("train", "freeze_epochs"), message)


def _try_loss(spec: ResolvedSpec, loss: Loss, num_classes: int, *, mixed: bool) -> None:
    """Compute the loss of two samples, with targets as the training will have them: floats if they are mixed."""
    named = " + ".join(str(bound.component) for bound in spec.many("model", "loss"))
    targets = torch.tensor([0, num_classes - 1])
    if mixed:
        targets = F.one_hot(targets, num_classes).float()
    try:
        value = loss(torch.zeros(2, num_classes, requires_grad=True), targets)
    except ValueError as error:
        raise spec.error(("model", "loss"), str(error)) from error
    except Exception as error:
        raise PluginError(f"{named} failed on logits (2, {num_classes}): {describe(error)}") from error
    if not (isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()):
        found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise PluginError(f"{named} breaks its contract: it must return a scalar, not {found}")
    if not value.requires_grad:
        raise PluginError(f"{named} breaks its contract: the logits must get a gradient from it, and get none")
