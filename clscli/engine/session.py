"""Everything that a running training consists of: built from a plan, saved, and restored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

from clscli.data.loader import BatchLoader
from clscli.engine.device import Execution
from clscli.engine.execution import choose_execution
from clscli.engine.hooks import Hooks, HookState
from clscli.engine.optimizers import parameter_groups
from clscli.engine.prepare import Plan
from clscli.engine.schedules import Schedule, build_schedule
from clscli.engine.teacher import teachers_for
from clscli.models.build import build_loss
from clscli.models.classifier import Classifier
from clscli.models.losses.contract import Loss


@dataclass
class Progress:
    """How far a run has come; with the weights and the optimizer's state, all that resuming needs."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches of the current epoch that were trained on
    step: int = 0  # optimizer steps since the start of the run
    loss_sum: float = 0.0  # over the samples of the current epoch
    correct: int = 0
    samples: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Session:
    """All that a running training consists of."""

    model: Classifier
    loss: Loss
    optimizer: optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    execution: Execution
    device: torch.device
    train: BatchLoader
    val: BatchLoader
    epochs: int
    seed: int
    on_bad_image: str
    hooks: Hooks
    state: HookState
    progress: Progress

    def state_dict(self) -> dict[str, Any]:
        """Return, besides the model's weights, all that going on needs; only tensors and plain values."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "loss": self.loss.state_dict() if isinstance(self.loss, nn.Module) else {},
            "scaler": self.scaler.state_dict(),
            "hooks": self.hooks.state(),
            "progress": dataclasses.asdict(self.progress),
            "execution": dataclasses.asdict(self.execution),
            "stop_reason": self.state.stop_reason,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; `execution` has to be given when the session is made."""
        self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.loss, nn.Module):
            self.loss.load_state_dict(state["loss"])
        self.scaler.load_state_dict(state["scaler"])
        self.hooks.load(state["hooks"])
        self.progress = Progress(**state["progress"])
        self.state.step = self.progress.step
        self.state.stop_reason = state["stop_reason"]


def new_session(plan: Plan, device: torch.device, execution: Execution | None = None) -> Session:
    """Put together everything that training needs, at its beginning."""
    spec = plan.spec.spec
    load_teacher = teachers_for(plan.data.classes, plan.blueprint.image_shape[0], device)
    loss = build_loss(plan.spec, plan.data.train.class_counts, load_teacher)
    if execution is None:
        execution = choose_execution(plan, device)
    model = plan.model.to(memory_format=execution.memory_format).to(device)
    if isinstance(loss, nn.Module):
        loss.to(device)
    if device.type == "cuda":
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
    schedule = build_schedule(plan.spec, len(loaders[0]))
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
