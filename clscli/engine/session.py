"""Everything that a running training consists of: built from a plan, saved, and restored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from clscli.data.batch_transforms import BatchTransforms
from clscli.data.loader import BatchLoader
from clscli.engine.accumulation import lr_factor, steps_per_epoch
from clscli.engine.compilation import compile_now
from clscli.engine.device import Execution
from clscli.engine.execution import choose_execution
from clscli.engine.groups import build_optimizer
from clscli.engine.hooks import Hooks, HookState
from clscli.engine.prepare import Plan
from clscli.engine.progress import EpochSums, Progress
from clscli.engine.schedules import Observing, Schedule, build_schedule
from clscli.engine.teacher import teachers_for
from clscli.errors import CheckpointError
from clscli.models.build import build_loss
from clscli.models.classifier import Classifier
from clscli.models.layers.outputs import Outputs
from clscli.models.losses.contract import Loss
from clscli.spec.schema import TrainTable


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
    train: BatchLoader
    val: BatchLoader
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

    def start_training(self) -> None:
        """Put the model into training mode; of a frozen backbone, batch norm's statistics stay as well."""
        is_frozen = self.progress.epoch < self.options.freeze_epochs
        for parameter in self.freezable:
            parameter.requires_grad_(not is_frozen)
        self.model.train()
        if is_frozen:
            self.model.backbone.eval()

    def settle(self) -> None:
        """Bring the sums of the epoch up to date. Raises TrainingError when its loss was not finite."""
        self.sums.store(self.progress)
        self.sums.check_finite(self.progress)

    def save_wanted(self) -> None:
        """Write the checkpoints that hooks have asked for."""
        wanted, self.state.wanted = self.state.wanted, []
        for path in wanted:
            if self.save is not None:
                self.save(path)

    def state_dict(self) -> dict[str, Any]:
        """Return, besides the model's weights, all that going on needs; only tensors and plain values."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "loss": self.loss.state_dict() if isinstance(self.loss, nn.Module) else {},
            "schedule": self.schedule.state_dict() if isinstance(self.schedule, Observing) else {},
            "scaler": self.scaler.state_dict(),
            "hooks": self.hooks.state(),
            "progress": dataclasses.asdict(self.progress),
            "execution": dataclasses.asdict(self.execution),
            "metrics": self.state.metrics,
            "validated": self.state.validated,
            "stop_reason": self.state.stop_reason,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; `execution` has to be given when the session is made.

        Raises CheckpointError when the optimizer's groups are not those of the run.
        """
        try:
            self.optimizer.load_state_dict(state["optimizer"])
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
        self.state.step = self.progress.step
        # What follows is not in checkpoints of 0.1.0, which are of runs that validated after every epoch.
        self.state.metrics, self.state.validated = state.get("metrics", {}), state.get("validated", False)
        self.state.stop_reason = state["stop_reason"]


def new_session(plan: Plan, device: torch.device, execution: Execution | None = None) -> Session:
    """Put together everything that training needs, at its beginning."""
    spec = plan.spec.spec
    load_teacher = teachers_for(plan.data.classes, plan.blueprint.image_shape[0], device)
    loss = build_loss(plan.spec, plan.data.train.class_counts, load_teacher)
    if execution is None:
        execution = choose_execution(plan, device)
    execution = compile_now(plan, execution, device)
    model = plan.model.to(memory_format=execution.memory_format).to(device)
    if isinstance(loss, nn.Module):
        loss.to(device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not spec.train.deterministic

    def loader(split: str) -> BatchLoader:
        training = split == "train"
        return BatchLoader(
            plan.data.train if training else plan.data.val,
            plan.train_transforms if training else plan.eval_transforms,
            batch_size=spec.data.images_per_batch,
            seed=spec.seed,
            shuffle=training,
            num_workers=spec.data.num_workers,
            pin_memory=device.type == "cuda",
        )

    loaders = loader("train"), loader("val")
    optimizer = build_optimizer(plan.spec, model)
    factor = lr_factor(loaders[0].order.batch_size, spec.train)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] = factor * group["lr"]
    schedule = build_schedule(plan.spec, steps_per_epoch(len(loaders[0]), spec.train))
    hooks = Hooks.of([(bound, plan.spec.construct(bound)) for bound in plan.spec.many("hooks")])
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
        state=HookState(model, optimizer, device, Path(), spec.train.epochs, spec.train.monitor),
        progress=Progress(),
        sums=EpochSums(Progress(), device),
    )
