"""Everything that a running training consists of: built from a plan, saved, and restored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim

from clscli.data.batch_transforms import BatchTransforms
from clscli.data.loader import Loader
from clscli.data.pipeline import output_shape
from clscli.engine.accumulation import lr_factor, steps_per_epoch
from clscli.engine.compilation import compile_now
from clscli.engine.device import Execution
from clscli.engine.distributed import ALONE, World, synchronize_batch_norm
from clscli.engine.execution import choose_execution
from clscli.engine.groups import build_optimizer
from clscli.engine.hooks import Hooks, HookState
from clscli.engine.loaders import open_loaders
from clscli.engine.prepare import Plan
from clscli.engine.progress import EpochSums, Progress
from clscli.engine.schedules import Observing, Schedule, build_schedule
from clscli.errors import CheckpointError, Interrupted, TrainingError
from clscli.models.classifier import Classifier
from clscli.models.layers.outputs import Outputs
from clscli.models.losses.contract import Loss
from clscli.reports.text import list_some
from clscli.spec.schema import TrainTable

if TYPE_CHECKING:  # importing it takes half a second
    from clscli.engine.sharding import Sharding


@dataclass
class Session:
    """All that a running training consists of."""

    model: Classifier
    forward: Callable[[Tensor], Outputs]  # the model as training steps call it: perhaps compiled
    loss: Loss
    optimizer: optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    execution: Execution
    device: torch.device
    train: Loader
    val: Loader
    batch_transforms: BatchTransforms
    options: TrainTable
    freezable: list[nn.Parameter]  # of the backbone: what is not frozen for good
    epochs: int
    seed: int
    on_bad_image: str
    hooks: Hooks
    state: HookState
    progress: Progress
    sums: EpochSums  # of the current epoch, which `settle` brings into the progress
    save: Callable[[Path], None] | None = None  # writes the checkpoints that hooks ask for
    world: World = ALONE
    image_shape: tuple[int, int, int] | None = None  # of training images, known with several processes
    sharding: Sharding | None = None  # how the model is divided; None: each process has all of it
    replica: nn.Module | None = None  # the model as it exchanges gradients with those of other processes
    replica_is_frozen: bool = False
    replica_is_proven: bool = False

    def start_training(self) -> None:
        """Put the model into training mode; of a frozen backbone, batch norm's statistics stay as well."""
        is_frozen = self.progress.epoch < self.options.freeze_epochs
        for parameter in self.freezable:
            parameter.requires_grad_(not is_frozen)
        self.model.train()
        if is_frozen:
            self.model.backbone.eval()
        self._replicate(is_frozen)

    def _replicate(self, is_frozen: bool) -> None:
        """With several processes, have the gradients of what is trained now exchanged between them."""
        if self.world.size == 1 or (self.replica is not None and self.replica_is_frozen == is_frozen):
            return
        self.replica = self.world.replicate(self.model) if self.sharding is None else self.model
        self.replica_is_frozen = is_frozen
        self.replica_is_proven = False
        self.forward = self.execution.forward(self.replica)

    def end_replication(self) -> None:
        """Let go of the other processes: what exchanges gradients must not outlive the connection to them."""
        if self.replica is not None:
            self.replica, self.forward = None, self.model

    def prove_replica(self) -> None:
        """After a first backward pass, raise TrainingError for parameters without a gradient to exchange.

        For these, the processes would wait in the next step. That torch looks for them in every step costs time,
        and what a head computes in its loss it would not find.
        """
        if self.replica is None or self.replica_is_proven:
            return
        parameters = self.model.named_parameters()
        unused = [name for name, p in parameters if p.requires_grad and p.grad is None]
        if unused:
            raise TrainingError(
                f"several processes cannot train parameters that have no part in the loss: {list_some(unused)}"
            )
        self.replica_is_proven = True

    def keep_gradients(self, is_last: bool) -> AbstractContextManager[None]:
        """Return the context of one batch of a group: only the last one's exchanges gradients."""
        if self.replica is None or is_last:
            return nullcontext()
        return (self.sharding or self.world).without_reduction(self.replica)

    def agree(self) -> None:
        """Do what the hooks of process 0 ask for, in all processes. Raises Interrupted if they ask to stop now."""
        state = self.state
        if self.world.size > 1:
            wanted = [str(path) for path in state.wanted]
            asks = [state.stop_reason, state.interruption, wanted]
            stop, interruption, wanted = self.world.from_main(asks if any(asks) else None) or (None, None, [])
            state.stop_reason, state.interruption = stop, interruption
            state.wanted = [Path(path) for path in wanted]
        if state.interruption is not None:
            reason, state.interruption = state.interruption, None
            raise Interrupted(reason)

    def settle(self) -> None:
        """Bring the sums of the epoch up to date. Raises TrainingError when its loss was not finite."""
        self.sums.store(self.progress)
        self.sums.check_finite(self.progress)
        if self.world.size > 1:
            mine = self.progress.unreadable
            found = [(path, reason) for own in self.world.gather(mine) for path, reason in own]
            self.progress.unreadable = found if self.world.is_main else []

    def save_wanted(self) -> None:
        """Write the checkpoints that hooks have asked for."""
        wanted, self.state.wanted = self.state.wanted, []
        for path in wanted:
            if self.save is not None:
                self.save(path)

    @property
    def has_part_in_saving(self) -> bool:
        """Whether this process writes, or has a part of what is written."""
        return self.world.is_main or self.sharding is not None

    def weights(self, model: Classifier | None = None) -> dict[str, Any]:
        """Return the whole weights of the model, or of another one that is divided as it is."""
        weights = (model or self.model).state_dict()
        return weights if self.sharding is None else self.sharding.gather(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return, besides the model's weights, all that going on needs; only tensors and plain values.

        What is divided comes out whole, in process 0; the others have to ask for it, too.
        """
        state = self._state_dict()
        return state if self.sharding is None else self.sharding.gather(state)

    def _state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "loss": self.loss.state_dict() if isinstance(self.loss, nn.Module) else {},
            "schedule": self.schedule.state_dict() if isinstance(self.schedule, Observing) else {},
            "scaler": self.scaler.state_dict(),
            "hooks": self.hooks.state(),
            "progress": dataclasses.asdict(self.progress),
            "execution": dataclasses.asdict(self.execution),
            "metrics": self.state.metrics,
            "stop_reason": self.state.stop_reason,
            "batch_size": self.train.order.batch_size,  # of all processes together
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; `execution` has to be given when the session is made.

        Raises CheckpointError when the optimizer's groups are not those of the run.
        """
        try:
            saved = state["optimizer"]
            self.optimizer.load_state_dict(
                saved if self.sharding is None else self.sharding.divide_state(self.optimizer, saved)
            )
        except ValueError as error:  # 0.1.0 decayed tokens and position embeddings like other weights
            raise CheckpointError(
                "the run cannot go on: its parameters were divided into other groups when it began "
                "-- start a new one from its weights: train.init_from"
            ) from error
        if isinstance(self.loss, nn.Module):
            self.loss.load_state_dict(state["loss"])
        if isinstance(self.schedule, Observing):
            self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.hooks.load(state["hooks"])
        self.progress = Progress(**state["progress"])
        if not self.world.is_main:
            self.progress.unreadable = []
        self.state.step = self.progress.step
        self.state.metrics = state.get("metrics", {})  # not in checkpoints of 0.1.0
        self.state.validated = bool(self.state.metrics) and self.progress.validated_step == self.progress.step
        self.state.stop_reason = state["stop_reason"]


def new_session(
    plan: Plan,
    device: torch.device,
    execution: Execution | None = None,
    *,
    world: World = ALONE,
    batch_size: int | None = None,
) -> Session:
    """Put together everything that training needs, at its beginning.

    `batch_size` is of all processes together; a run that is resumed keeps it, with however many processes.
    """
    spec = plan.spec.spec
    loss = plan.build_loss()
    sharding = _divided(plan, device, world)
    if execution is None:
        execution = choose_execution(plan, device, world)
    elif sharding is not None:  # the run may have begun in one process
        execution = dataclasses.replace(execution, compiled=False)
    execution = compile_now(plan, execution, device)
    if world.size > 1:
        batch_size = batch_size or spec.data.images_per_batch * world.size
        if execution.threads is not None:  # of a run that had more of the machine for each process
            execution = dataclasses.replace(execution, threads=min(execution.threads, torch.get_num_threads()))
        if spec.train.sync_batch_norm:
            synchronize_batch_norm(plan.model, device)
    if sharding is None:
        model = plan.model.to(memory_format=execution.memory_format).to(device)
    else:  # FSDP2 takes contiguous weights alone; images in channels-last order still choose the kernels
        model = sharding.divide(plan.model)
    if isinstance(loss, nn.Module):
        loss.to(device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not spec.train.deterministic

    loaders = open_loaders(plan, device, world, batch_size)
    optimizer = build_optimizer(plan.spec, model)
    factor = lr_factor(loaders[0].order.batch_size, spec.train)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] = factor * group["lr"]
    schedule = build_schedule(plan.spec, steps_per_epoch(len(loaders[0]), spec.train))
    hooks = Hooks.of([(bound, plan.spec.construct(bound)) for bound in plan.spec.many("hooks")])
    if sharding is not None:
        sharding.check(optimizer, hooks)
    return Session(
        model=model,
        forward=execution.forward(model),
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        scaler=execution.scaler(device),
        execution=execution,
        device=device,
        train=loaders[0],
        val=loaders[1],
        batch_transforms=plan.batch_transforms,
        options=spec.train,
        freezable=[p for p in model.backbone.parameters() if p.requires_grad],
        epochs=spec.train.epochs,
        seed=spec.seed,
        on_bad_image=spec.data.on_bad_image,
        hooks=hooks,
        state=HookState(
            *(model, optimizer, device, Path(), spec.train.epochs, spec.train.monitor),
            is_main=world.is_main,
            sharding=sharding,
        ),
        progress=Progress(),
        sums=EpochSums(Progress(), device),
        world=world,
        sharding=sharding,
        image_shape=output_shape(plan.train_transforms, plan.data.train) if world.size > 1 else None,
    )


def _divided(plan: Plan, device: torch.device, world: World) -> Sharding | None:
    """Prepare to divide the model between the processes, if the spec asks for it and there are several."""
    if world.size == 1 or plan.spec.spec.train.strategy != "fsdp":
        return None
    from clscli.engine.sharding import Sharding

    return Sharding.of(plan, device, world)
