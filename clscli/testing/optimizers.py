"""What is checked of optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn, optim

from clscli.errors import describe
from clscli.seeds import seeded
from clscli.testing.case import Case, RuleError, saved_and_loaded
from clscli.testing.modules import some


class _Network(nn.Module):
    """A little of everything that optimizers tell apart: a kernel, a matrix, norms, biases, and a token."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, bias=False)  # which a norm takes away: its gradient would be but noise
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Conv2d(4, 6, 3)
        self.token = nn.Parameter(torch.randn(6))
        self.head = nn.Linear(6, 5)

    def backward(self, seed: int) -> None:
        """Give every parameter the gradient of some batch."""
        images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        features = self.hidden(self.norm(self.stem(images)).relu()).mean((2, 3)) * self.token
        self.zero_grad()
        loss = nn.functional.cross_entropy(self.head(features), torch.arange(4))
        torch.autograd.backward(loss)


class OptimizerCase(Case):
    """An optimizer of a small network, with its biases and norms in a group without weight decay."""

    def make(self) -> tuple[_Network, Any]:
        """Build a network, the same every time, and its optimizer."""
        with seeded(0):
            network = _Network()
        plain: list[Tensor] = [p for p in network.parameters() if p.ndim > 1]
        rest: dict[str, Any] = {"params": [p for p in network.parameters() if p.ndim == 1]}
        if self.bound.has_parameter("weight_decay"):
            rest["weight_decay"] = 0.0
        return network, self.build(params=[{"params": plain}, rest], hidden_weights=[network.hidden.weight])

    def check_builds(self) -> None:
        """Build it once."""
        self.injected = {"params": [{"params": [nn.Parameter(torch.ones(2, 2))]}], "hidden_weights": []}
        super().check_builds()

    def check_optimizer(self) -> None:
        """Look at its type and its groups."""
        network, optimizer = self.make()
        if not isinstance(optimizer, optim.Optimizer):
            raise RuleError(
                f"it is a {type(optimizer).__name__}", "derive it from torch.optim.Optimizer", is_fatal=True
            )
        ids = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        lost = [f"'{name}'" for name, p in network.named_parameters() if ids.count(id(p)) != 1]
        if lost:
            raise RuleError(
                f"not in one of its groups exactly once: {some(lost)}",
                "keep all parameters that it is given",
                is_fatal=True,
            )

    def check_step(self) -> None:
        """Take a step, with a parameter that has no gradient."""
        network, optimizer = self.make()
        network.backward(seed=0)
        network.token.grad = None
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        try:
            for _ in range(2):  # some begin with a rate of 0, or only take note of the first gradient
                optimizer.step()
        except Exception as error:
            raise RuleError(
                f"a step fails with {describe(error)}", "leave out parameters whose grad is None", is_fatal=True
            ) from error
        after = dict(network.named_parameters())
        still = [f"'{name}'" for name, p in after.items() if name != "token" and torch.equal(p, before[name])]
        if still:
            raise RuleError(
                f"two steps leave as they were: {some(still)}", "update every parameter that has a gradient"
            )
        if not torch.equal(after["token"], before["token"]):
            raise RuleError("a parameter without a gradient changes", "leave out parameters whose grad is None")

    def check_rate(self) -> None:
        """Take a step at the rate 0."""
        network, optimizer = self.make()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        network.backward(seed=0)
        optimizer.step()
        moved = max((p - b).abs().max().item() for p, b in zip(network.parameters(), before, strict=True))
        if moved > 1e-5:  # rprop has a smallest step, 1e-6
            raise RuleError(
                f"with lr 0 in every group a step moves weights by up to {moved:.3g}",
                "read group['lr'] at each step: schedulers change it there",
            )

    def check_state_dict(self) -> None:
        """Go on from a saved state."""
        network, optimizer = self.make()
        for seed in range(3):
            network.backward(seed)
            optimizer.step()
        other_network, other = self.make()
        other_network.load_state_dict(network.state_dict())
        other.load_state_dict(saved_and_loaded(optimizer.state_dict()))
        for each, its_optimizer in ((network, optimizer), (other_network, other)):
            each.backward(seed=3)
            its_optimizer.step()
        theirs = dict(other_network.named_parameters())
        moved = [
            f"'{name}'"
            for name, parameter in network.named_parameters()
            if not torch.allclose(parameter, theirs[name], rtol=1e-5, atol=1e-7)
        ]
        if moved:
            raise RuleError(
                f"one that loads it takes another step with {some(moved)}",
                "keep what a step needs in self.state and in the groups, not in other attributes",
            )
