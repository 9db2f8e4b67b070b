"""One model divided between several processes: `train.strategy = "fsdp"`, torch's FSDP2.

Each process keeps a part of every weight, of its gradient and of what the optimizer knows about it. For a block to
compute, they gather its weights, and let go of them again. What a checkpoint holds is whole: names, shapes and
types are those of a run on one device.

Importing this takes half a second, for torch's DTensor: only a run that divides its model does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from clscli.engine.distributed import World
from clscli.engine.hooks import Hooks
from clscli.engine.optimizers.muon import Muon
from clscli.engine.prepare import Plan
from clscli.errors import TrainingError
from clscli.models.backbones.stages import parts_of
from clscli.models.build import build_model
from clscli.models.classifier import Classifier

# They compute with the rows, columns or products of whole matrices, of which a process has some rows.
_NEED_WHOLE_MATRICES = (Muon, optim.Adafactor)


def check_plan(plan: Plan, device: torch.device) -> None:
    """Refuse what cannot be divided, and what a divided model cannot do. Raises SpecError or TrainingError."""
    spec = plan.spec
    if spec.spec.train.compile is True:
        message = 'a model that train.strategy = "fsdp" divides is not compiled -- write false'
        raise spec.error(("train", "compile"), message)
    if device.type == "cpu" and not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        message = f'"fsdp" takes torch 2.8 or newer on the CPU, and this is {torch.__version__} -- write "ddp"'
        raise spec.error(("train", "strategy"), message)
    for name, parameter in plan.model.named_parameters():
        if parameter.ndim == 0:
            raise TrainingError(
                f'train.strategy: {name} is a number without dimensions, which "fsdp" cannot divide -- write "ddp"'
            )


@dataclass(frozen=True)
class Sharding:
    """How a model is divided: each tensor by its first dimension, between the processes of `mesh`."""

    plan: Plan
    world: World
    device: torch.device
    mesh: DeviceMesh

    @classmethod
    def of(cls, plan: Plan, device: torch.device, world: World) -> Sharding:
        """Divide between all processes. Raises SpecError or TrainingError for what cannot be divided."""
        check_plan(plan, device)
        return cls(plan, world, device, init_device_mesh(device.type, (world.size,)))

    def check(self, optimizer: optim.Optimizer, hooks: Hooks) -> None:
        """Refuse an optimizer or a hook that needs what no process has. Raises SpecError."""
        spec = self.plan.spec
        if isinstance(optimizer, _NEED_WHOLE_MATRICES):
            bound = spec.one("optimizer")
            message = f'{bound.label} needs whole matrices, which train.strategy = "fsdp" divides -- write "ddp"'
            raise spec.error((*bound.path, "type"), message)
        for bound, hook in hooks.hooks:
            if getattr(hook, "needs_whole_model", False):
                message = f'{bound.label} needs a whole model, which train.strategy = "fsdp" divides -- remove it'
                raise spec.error(bound.path, message)

    def divide(self, model: Classifier) -> Classifier:
        """Divide a model on the CPU, block by block, so that no device holds all of it; return the same model.

        Weights that no block has, such as those of stem and head, are gathered together, for the whole pass.
        """
        for unit in list(units_of(model, self.plan.blueprint.image_shape)):
            fully_shard(unit[0] if len(unit) == 1 else unit, mesh=self.mesh)
        fully_shard(model, mesh=self.mesh)
        if self.device.type == "cpu":
            # Asked for the mean of gradients, gloo may give their sum: github.com/pytorch/pytorch/issues/162338.
            for module in model.modules():
                if isinstance(module, FSDPModule):
                    module.set_force_sum_reduction_for_comms(True)
        register_fsdp_forward_method(model, "predict")
        return model

    def stand_in(self) -> Tensor:
        """Return a black picture to compute where others wait for this process's part of the weights."""
        return torch.zeros(1, *self.plan.blueprint.image_shape, dtype=torch.uint8, device=self.device)

    @contextmanager
    def without_reduction(self, model: nn.Module) -> Iterator[None]:
        """While entered, gradients stay with each process, whole, to be reduced with those of the next batch."""
        assert isinstance(model, FSDPModule)
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

    def gather(self, value: Any) -> Any:
        """Make whole what is divided, in nested plain values: on process 0's CPU, for the others it is None.

        All processes have to call it, and to hold tensors of the same names.
        """
        if isinstance(value, DTensor):
            whole = value.full_tensor()
            return whole.cpu() if self.world.is_main else None
        if isinstance(value, Mapping):
            return {key: self.gather(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.gather(inner) for inner in value)
        return value

    def load_weights(self, model: Classifier, weights: Mapping[str, Tensor]) -> None:
        """Give a divided model whole weights, which every process has."""
        set_model_state_dict(model, dict(weights), options=StateDictOptions(full_state_dict=True))

    def divide_state(self, optimizer: optim.Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
        """Divide a whole state dict of an optimizer: what has the shape of a weight is divided as that is."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

        def divided(parameter: Tensor, value: Any) -> Any:
            if not (isinstance(value, Tensor) and value.shape == parameter.shape):
                return value
            return distribute_tensor(value.to(self.device), self.mesh, parameter.placements)  # type: ignore[attr-defined]

        own = {
            index: {key: divided(parameters[index], value) for key, value in values.items()}
            for index, values in state["state"].items()
        }
        return {**state, "state": own}

    def copy(self, model: Classifier) -> Classifier:
        """Return a divided copy of a divided model; torch cannot copy one."""
        copied = self.divide(build_model(self.plan.spec, self.plan.blueprint))
        with torch.no_grad():
            for ours, theirs in zip(copied.state_dict().values(), model.state_dict().values(), strict=True):
                ours.copy_(theirs)
        return copied


def units_of(model: Classifier, image_shape: tuple[int, int, int]) -> Iterator[list[nn.Module]]:
    """Yield what is gathered at a time: the blocks of the backbone, or its children if it does not list any.

    Gathering begins when a module is called, and so only for one that a pass calls, and calls once.
    """
    listed = getattr(model.backbone, "stem_and_stages", None)
    stages = listed() if callable(listed) else [list(model.backbone.children())]
    calls = _count_calls(model, image_shape)
    for stage in stages:
        modules = [inner for m in stage for inner in (m if isinstance(m, nn.ModuleList) else [m])]
        for part in parts_of(modules):
            # What is not in the model are layers in a row, joined here: they are gathered together.
            unit = [part] if part in calls else list(part.children())
            unit = [module for module in unit if any(True for _ in module.parameters())]
            if unit and all(calls[module] == 1 for module in unit):
                yield unit


def _count_calls(model: Classifier, image_shape: tuple[int, int, int]) -> Counter[nn.Module]:
    """Count how often a pass calls each module of a model; 0 for the others."""
    calls: Counter[nn.Module] = Counter(dict.fromkeys(model.modules(), 0))
    handles = [m.register_forward_pre_hook(lambda module, _: calls.update([module])) for m in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, *image_shape, dtype=torch.uint8))
    finally:
        for handle in handles:
            handle.remove()
    return calls
