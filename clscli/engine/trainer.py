"""Train a model: from a spec, or from where a run stopped."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clscli.data.loader import BatchLoader
from clscli.engine.checkpoint import Checkpoint, checkpoint_data, load_checkpoint, save_checkpoint
from clscli.engine.device import Execution, choose_device, device_name
from clscli.engine.execution import choose_execution
from clscli.engine.hooks import Hooks, HookState
from clscli.engine.loop import EpochResult, Observer, Progress, Session, run_epochs
from clscli.engine.optimizers import parameter_groups
from clscli.engine.prepare import Plan, prepare
from clscli.engine.run_directory import RunDirectory, create_run, write_records
from clscli.engine.stop import StopRequest
from clscli.errors import CheckpointError, Interrupted, TrainingError
from clscli.models.build import build_loss
from clscli.models.weights import load_pretrained
from clscli.spec import check_structure, read_training_draft, resolve, spec_name

log = logging.getLogger("clscli")


@dataclass(frozen=True)
class TrainResult:
    """Where a run is, and the metrics of its best and last epoch."""

    run: Path
    best: dict[str, Any]
    last: dict[str, Any]
    checkpoint: Path

    def as_json(self) -> dict[str, Any]:
        """Return what `clscli train --json` prints."""
        return {
            "run": str(self.run),
            "best": self.best,
            "last": self.last,
            "checkpoint": str(self.checkpoint),
        }


def train(
    spec: str | os.PathLike[str] | Mapping[str, Any],
    *,
    data: str | os.PathLike[str] | None = None,
    device: str = "auto",
    sets: Iterable[str] = (),
    unsets: Iterable[str] = (),
    out: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
) -> TrainResult:
    """Train a model as a spec says: a TOML file, the name of a preset, or a dict.

    `data` is a folder of pictures that stands for the spec's own; `sets` and `unsets` are as on the command
    line. Raises SpecError for everything wrong with the spec, before the run directory is made.
    """
    chosen = choose_device(device)
    draft = read_training_draft(spec, data=data, sets=sets, unsets=unsets)
    resolved = resolve(draft, check_structure(draft))
    plan = prepare(resolved)
    session = _new_session(plan, chosen)
    name = spec_name(spec) if not isinstance(spec, Mapping) else "run"
    run = create_run(name, Path(out) if out is not None else None)
    with run.logging():
        session.state.run = run.path
        write_records(run, resolved, plan.data, chosen)
        _announce(plan, session, run)
        backbone = resolved.one("model", "backbone")
        wanted = backbone.builder.get("pretrained", False)
        if wanted is not False:
            load_pretrained(plan.model.backbone, backbone, wanted, resolved)
        return _run(plan, session, run, observer or Observer(), best=None)


def resume(path: str | os.PathLike[str], *, device: str = "auto", observer: Observer | None = None) -> TrainResult:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    `path` is a run directory or the `last.pth` in it. Raises CheckpointError when there is nothing to go on with.
    """
    chosen = choose_device(device)
    file = Path(path) / "last.pth" if Path(path).is_dir() else Path(path)
    checkpoint = load_checkpoint(file)
    if checkpoint.training is None:
        raise CheckpointError(f"{file}: has only what eval and predict need -- resume from last.pth")
    run = RunDirectory(file.parent)
    spec = checkpoint.resolve()
    plan = prepare(spec, run.path)
    if plan.data.classes != checkpoint.classes:
        raise CheckpointError(f"{file}: the pictures now have other classes than when the run began")
    session = _new_session(plan, chosen, Execution(**checkpoint.training["execution"]))
    best = _restore(session, checkpoint)
    with run.logging():
        run.keep_metrics(session.progress.epoch)
        at = f"epoch {session.progress.epoch + 1}"
        if session.progress.batch:
            at += f", batch {session.progress.batch + 1}"
        if session.progress.epoch >= session.epochs:
            log.info("%s is complete: nothing to go on with", run.path)
        else:
            log.info("going on with %s at %s on %s", run.path, at, device_name(chosen))
        counts = (len(plan.data.train), len(plan.data.val))
        if counts != tuple(checkpoint.training["samples"]):
            log.info("note: the number of pictures has changed, so this is not the run that was stopped")
        return _run(plan, session, run, observer or Observer(), best)


def _new_session(plan: Plan, device: torch.device, execution: Execution | None = None) -> Session:
    """Put together everything that training needs, at its beginning."""
    spec = plan.spec.spec
    loss = build_loss(plan.spec, plan.data.train.class_counts)
    if execution is None:
        execution = choose_execution(plan, device)
    model = plan.model.to(memory_format=execution.memory_format).to(device)
    if isinstance(loss, torch.nn.Module):
        loss.to(device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
        torch.backends.cudnn.benchmark = True

    def loader(split: str) -> BatchLoader:
        training = split == "train"
        return BatchLoader(
            plan.data.train if training else plan.data.val,
            plan.train_transforms if training else plan.eval_transforms,
            batch_size=spec.data.batch_size,
            seed=spec.seed,
            shuffle=training,
            num_workers=spec.data.num_workers,
            pin_memory=device.type == "cuda",
        )

    loaders = loader("train"), loader("val")
    optimizer = plan.spec.construct(plan.spec.one("optimizer"), params=parameter_groups(model))
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    steps_per_epoch = len(loaders[0])
    schedule = plan.spec.construct(
        plan.spec.one("scheduler"),
        num_steps=spec.train.epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
    )
    hooks = Hooks.of([(bound, plan.spec.construct(bound)) for bound in plan.spec.many("hooks")])
    return Session(
        model=model,
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        scaler=execution.scaler(device),
        execution=execution,
        device=device,
        train=loaders[0],
        val=loaders[1],
        epochs=spec.train.epochs,
        seed=spec.seed,
        on_bad_image=spec.data.on_bad_image,
        hooks=hooks,
        state=HookState(model, optimizer, Path(), spec.train.epochs),
        progress=Progress(),
    )


def _restore(session: Session, checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Put a session into the state that a checkpoint was written in; return the best epoch's row so far."""
    saved = checkpoint.training or {}
    session.model.load_state_dict(checkpoint.weights)
    session.optimizer.load_state_dict(saved["optimizer"])
    session.scaler.load_state_dict(saved["scaler"])
    session.hooks.load(saved["hooks"])
    unreadable = [(path, reason) for path, reason in saved["progress"].pop("unreadable")]
    session.progress = Progress(**saved["progress"], unreadable=unreadable)
    session.state.run = checkpoint.path.parent
    session.state.step = session.progress.step
    session.state.stop_reason = saved["stop_reason"]
    best: dict[str, Any] | None = saved["best"]
    return best


class _StopBetweenSteps(Observer):
    """Pass everything on to another observer, and end the loop when a signal has asked for it."""

    def __init__(self, inner: Observer, request: StopRequest) -> None:
        self.inner = inner
        self.request = request

    def begin(self, what: str, num_images: int) -> None:
        self.inner.begin(what, num_images)

    def tick(self, num_images: int) -> None:
        self.inner.tick(num_images)
        if self.request.requested is not None:
            raise Interrupted(self.request.requested)


def _run(
    plan: Plan, session: Session, run: RunDirectory, observer: Observer, best: dict[str, Any] | None
) -> TrainResult:
    """Train to the end, saving after every epoch, and when interrupted."""
    rows = run.read_metrics()
    try:
        with StopRequest() as request:
            session.hooks.fire("on_run_start", session.state)
            for result in run_epochs(session, _StopBetweenSteps(observer, request)):
                row = result.row()
                rows.append(row)
                is_best = best is None or _is_better(row, best)
                best = row if is_best or best is None else best
                # In this order a kill at any point leaves a run that resumes to the same numbers.
                run.append_metrics(row)
                if is_best:
                    save_checkpoint(_checkpoint(plan, session, row), run.best)
                _save_last(plan, session, run, best, row)
                _log_epoch(result, session.epochs, is_best)
                if request.requested is not None:
                    raise Interrupted(request.requested)
            session.hooks.fire("on_run_end", session.state)
        _draw_curves(run, rows)
    except Interrupted as interruption:
        if session.progress.batch or not run.last.exists():
            _save_last(plan, session, run, best, rows[-1] if rows else {})
        _draw_curves(run, rows)
        raise Interrupted(
            f"interrupted ({interruption}) in epoch {min(session.progress.epoch + 1, session.epochs)}, "
            f"saved {run.last} -- go on with: clscli train --resume {run.path}"
        ) from None
    except TrainingError as error:
        kept = f"the last good checkpoint is {run.last}" if run.last.exists() else "nothing was saved yet"
        raise TrainingError(f"{error} -- {kept}; try a lower optimizer.lr") from None
    finally:
        session.train.close()
        session.val.close()
    if session.state.stop_reason is not None:
        log.info("stopped early: %s", session.state.stop_reason)
    assert best is not None
    return TrainResult(run.path, best, rows[-1], run.best)


def _is_better(row: dict[str, Any], best: dict[str, Any]) -> bool:
    """Compare two epochs: by top-1, and by the loss where that is equal."""
    return (row["top1"], -row["loss"]) > (best["top1"], -best["loss"])


def _checkpoint(plan: Plan, session: Session, metrics: dict[str, Any]) -> dict[str, Any]:
    return checkpoint_data(
        plan.spec,
        plan.data.classes,
        plan.data.train.class_counts,
        plan.blueprint.image_shape,
        session.model.state_dict(),
        metrics,
    )


def _save_last(
    plan: Plan, session: Session, run: RunDirectory, best: dict[str, Any] | None, metrics: dict[str, Any]
) -> None:
    data = _checkpoint(plan, session, metrics)
    data["training"] = {
        "optimizer": session.optimizer.state_dict(),
        "scaler": session.scaler.state_dict(),
        "hooks": session.hooks.state(),
        "progress": dataclasses.asdict(session.progress),
        "execution": dataclasses.asdict(session.execution),
        "samples": [len(plan.data.train), len(plan.data.val)],
        "stop_reason": session.state.stop_reason,
        "best": best,
    }
    save_checkpoint(data, run.last)


def _announce(plan: Plan, session: Session, run: RunDirectory) -> None:
    backbone = plan.spec.one("model", "backbone").component.spec_name
    log.info(
        "%s: %s parameters, %s, %s",
        backbone,
        f"{plan.num_parameters:,}",
        device_name(session.device),
        session.execution,
    )
    log.info(
        "%d training and %d validation pictures of %d classes, run directory %s",
        len(plan.data.train),
        len(plan.data.val),
        len(plan.data.classes),
        run.path,
    )


def _log_epoch(result: EpochResult, epochs: int, is_best: bool) -> None:
    log.info(
        "epoch %*d/%d  loss %.4f  val_loss %.4f  top1 %5.2f %%  lr %.2g  %.1f s  %.0f images/s%s",
        len(str(epochs)),
        result.epoch,
        epochs,
        result.train_loss,
        result.evaluation.loss,
        100 * result.evaluation.top1,
        result.lr,
        result.seconds,
        result.images_per_second,
        "  best" if is_best else "",
    )
    if result.unreadable:
        names = ", ".join(f"{path} ({reason})" for path, reason in result.unreadable[:10])
        more = f", and {len(result.unreadable) - 10} more" if len(result.unreadable) > 10 else ""
        log.info("skipped: %d pictures cannot be read: %s%s", len(result.unreadable), names, more)


def _draw_curves(run: RunDirectory, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    from clscli.reports.plots import draw_curves  # matplotlib: only now, when the training is over

    draw_curves(rows, run.curves)
