"""Train a model: from a spec, or from where a run stopped."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.culprit import blame, naming_components
from clscli.engine.determinism import deterministic_algorithms
from clscli.engine.device import Execution, device_name
from clscli.engine.distributed import World, ended_elsewhere, is_lost_connection, join
from clscli.engine.initial_weights import load_initial
from clscli.engine.loaders import settle_cache
from clscli.engine.loop import run_epochs
from clscli.engine.memory import explain_out_of_memory, is_out_of_memory, release, settle_batch_size
from clscli.engine.prepare import Plan, prepare
from clscli.engine.recorder import Recorder
from clscli.engine.run_directory import RunDirectory, create_run, refuse_used, write_records
from clscli.engine.session import new_session
from clscli.engine.stop import StopRequest
from clscli.errors import CheckpointError, ClscliError, EndedElsewhere, Interrupted, TrainingError, UsageError
from clscli.locations import is_url
from clscli.models.weights import load_pretrained
from clscli.observer import Observer
from clscli.spec import ResolvedSpec, check_structure, read_training_draft, resolve, spec_name

log = logging.getLogger("clscli")

_IN_A_TRIAL = "in a trial step, before the run"


@dataclass(frozen=True)
class TrainResult:
    """Where a run is, and the metrics of its best and last epoch."""

    run: Path
    best: dict[str, Any]
    last: dict[str, Any]
    checkpoint: Path
    monitor: str = "top1"  # the metric that makes an epoch the best

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

    In a process that torchrun has started, it trains together with the others; all of them return the result.
    """
    name = spec_name(spec) if not isinstance(spec, Mapping) else "run"
    with join(device) as (world, chosen):
        with world.together():
            if out is not None and world.is_main:
                refuse_used(Path(out))
            draft = read_training_draft(spec, data=data, sets=sets, unsets=unsets)
            resolved = resolve(draft, check_structure(draft))
        with deterministic_algorithms(resolved.spec.train.deterministic):
            # One process of each machine first: it checks the pictures, and the others find what it remembers.
            plan: Plan = world.one_after_another(lambda: prepare(resolved, observer=observer))
            with naming_components(plan.spec, _IN_A_TRIAL):
                plan = settle_batch_size(plan, chosen, world)
            with world.together():
                plan = settle_cache(plan)
            observer = (observer if world.is_main else None) or Observer()
            loaded: list[str] = world.one_after_another(lambda: _load_weights(plan, observer))
            plan = dataclasses.replace(plan, initial=None)  # its weights have been copied
            with world.together(), naming_components(plan.spec, _IN_A_TRIAL):
                session = new_session(plan, chosen, world=world)
            made = world.compute_on_main(
                lambda: str(create_run(name, Path(out) if out is not None else None).path)
            )
            run = RunDirectory(Path(made))
            with _written_by_main(run, world), session.execution.limit_threads():
                if world.is_main:
                    write_records(run, plan.spec, plan.data, chosen)
                recorder = Recorder(plan, session, run)
                recorder.announce()
                for line in loaded:
                    log.info(line)
                return _run(recorder, observer)


def resume(
    path: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    device: str = "auto",
    observer: Observer | None = None,
) -> TrainResult:
    """Go on with a run from its last checkpoint, as if it had never stopped.

    `path` is a run directory or the `last.pth` in it; `data` is where the run's `data.root` lies now. Several
    processes may go on with what one has begun, or fewer with what more have begun: the batches stay the same,
    only the slices do not. Raises CheckpointError when there is nothing to go on with.
    """
    with join(device) as (world, chosen):
        with world.together():
            file = Path(path) / "last.pth" if Path(path).is_dir() else Path(path)
            checkpoint = load_checkpoint(file)
            if checkpoint.training is None:
                raise CheckpointError(f"{file}: has only what eval and predict need -- resume from last.pth")
            spec = checkpoint.resolve()
            if data is not None:
                spec = _moved(spec, os.fspath(data))
        run = RunDirectory(file.parent)
        training = checkpoint.training
        with deterministic_algorithms(spec.spec.train.deterministic):
            with world.together():
                plan = prepare(spec, run.path)
                if plan.data.classes != checkpoint.classes:
                    raise CheckpointError(f"{file}: the pictures now have other classes than when the run began")
                execution = Execution(**training["execution"])
                batch_size = training.get("batch_size")  # not in checkpoints of 0.1.0
                plan.model.load_state_dict(checkpoint.weights)
                session = new_session(plan, chosen, execution, world=world, batch_size=batch_size)
                session.load_state_dict(training)
            with _written_by_main(run, world), session.execution.limit_threads():
                if world.is_main:
                    run.keep_metrics(session.progress.epoch, session.progress.validated_step)
                world.barrier()  # what the others read now
                with world.together():
                    recorder = Recorder(plan, session, run, training["best"], run.read_metrics())
                    _announce_resumed(recorder, training["pictures"])
                return _run(recorder, (observer if world.is_main else None) or Observer())


@contextmanager
def _written_by_main(run: RunDirectory, world: World) -> Iterator[None]:
    """While entered, the run directory is process 0's: no other run writes to it, and there is a log."""
    if not world.is_main:
        yield
        return
    with run.lock(), run.logging():
        yield


def _moved(spec: ResolvedSpec, root: str) -> ResolvedSpec:
    """Return the spec of a run whose pictures lie elsewhere now."""
    if spec.spec.data.root is None:
        raise UsageError(f"--data {root}: the run's pictures are those of data.train, not of a folder data.root")
    return spec.settled("data", "root", root if is_url(root) else str(Path(root).expanduser().absolute()))


def _load_weights(plan: Plan, observer: Observer) -> list[str]:
    """Give a new model the weights that the spec names, if any; return lines that say what was done."""
    if plan.initial is not None:
        return load_initial(plan.spec, plan.model, plan.data.classes, plan.initial)
    return load_pretrained(plan.spec, plan.model, plan.blueprint.num_classes, observer)


def _announce_resumed(recorder: Recorder, pictures: str) -> None:
    run, progress = recorder.run, recorder.session.progress
    is_over = progress.epoch >= recorder.session.epochs or recorder.session.state.stop_reason is not None
    if recorder.best is not None and not run.best.exists():
        if is_over:
            raise CheckpointError(f"{run.best}: is gone, and the run is complete -- {run.last} is its last epoch")
        log.info("note: %s is gone: the best of the epochs to come will be", run.best)
        recorder.best = None
    if is_over:
        log.info("%s is complete: nothing to go on with", run.path)
        return
    at = f"epoch {progress.epoch + 1}" + (f", batch {progress.batch + 1}" if progress.batch else "")
    where = device_name(recorder.session.device)
    log.info("going on with %s at %s on %s: weights, optimizer, schedule and hooks as saved", run.path, at, where)
    if recorder.pictures != pictures:
        log.info("note: the pictures have changed, so this is not the run that was stopped")


def _run(recorder: Recorder, observer: Observer) -> TrainResult:
    """Train to the end, saving after every epoch, and when interrupted."""
    session, run = recorder.session, recorder.run
    session.state.run, session.save = run.path, recorder.save
    try:
        with StopRequest(session.world) as request:
            session.hooks.fire("on_run_start", session.state)
            for result in run_epochs(session, _StopBetweenSteps(observer, request)):
                recorder.record(result)
                session.save_wanted()
                request.check()
            session.hooks.fire("on_run_end", session.state)
        recorder.draw()
    except Interrupted as interruption:
        if session.world.from_main(session.progress.batch > 0 or not run.last.exists()):
            recorder.save_last()
        recorder.draw()
        session.world.barrier()  # a launcher ends the others when one has ended
        if not session.world.is_main:
            raise EndedElsewhere from None
        epoch = min(session.progress.epoch + 1, session.epochs)
        raise Interrupted(
            f"interrupted ({interruption}) in epoch {epoch}, saved {run.last} "
            f"-- go on with: clscli train --resume {quote(str(run.path))}"
        ) from None
    except TrainingError as error:
        if not session.world.is_main:  # in all processes it is the same
            raise EndedElsewhere from None
        raise TrainingError(f"{error} -- {_kept(run)}; try a lower optimizer.lr") from None
    except ClscliError:
        raise
    except Exception as error:
        explained = _explain(error, recorder)
        if explained is None:
            raise
        raise explained from error
    finally:
        session.end_replication()
        session.train.close()
        session.val.close()
    if session.state.stop_reason is not None:
        log.info("stopped early: %s", session.state.stop_reason)
    assert recorder.best is not None
    return TrainResult(run.path, recorder.best, recorder.rows[-1], run.best, session.options.monitor)


def _explain(error: Exception, recorder: Recorder) -> ClscliError | None:
    """Say in words what ended a training, and what is left of it; None for a mistake of clscli's."""
    session, kept = recorder.session, _kept(recorder.run)
    epoch, step = session.progress.epoch + 1, session.progress.step
    if session.world.size > 1 and isinstance(error, RuntimeError) and is_lost_connection(error):
        return ended_elsewhere(session.world, f"another process of the run has ended -- {kept}")
    if is_out_of_memory(error):
        release(error)
        return TrainingError(f"epoch {epoch}: {explain_out_of_memory(recorder.plan, session)} ({kept})")
    explained = blame(error, recorder.plan.spec, f"in epoch {epoch}, after {step} steps")
    return explained and type(explained)(f"{explained} -- {kept}")


def _kept(run: RunDirectory) -> str:
    return f"the last checkpoint is {run.last}" if run.last.exists() else "nothing was saved yet"


class _StopBetweenSteps(Observer):
    """Pass everything on to another observer, and end the loop when a signal has asked for it."""

    def __init__(self, inner: Observer, request: StopRequest) -> None:
        self.inner = inner
        self.request = request

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        self.inner.begin(what, total, unit)

    def tick(self, amount: int) -> None:
        self.inner.tick(amount)
        self.request.check()
