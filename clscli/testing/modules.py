"""What is checked of every part of a model."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from clscli.errors import describe
from clscli.models.layers.outputs import Outputs
from clscli.testing.case import Case, RuleError, pickled

# In batches of different sizes, sums are done in another order. What they cancel out to has errors of the size of
# the largest: an untrained network's outputs may be a million.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


def as_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    """Return one output or several as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def shown(value: Any) -> str:
    """Describe what a component returned where something else was expected."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    return f"a {type(value).__name__}"


def is_close(ours: Outputs, theirs: Outputs) -> bool:
    """Tell whether two outputs are equal but for rounding."""
    pairs = zip(as_tuple(ours), as_tuple(theirs), strict=True)
    return all(
        torch.allclose(a, b, rtol=_RELATIVE, atol=_ABSOLUTE * max(1.0, float(b.abs().max()))) for a, b in pairs
    )


def is_same(ours: Outputs, theirs: Outputs) -> bool:
    """Tell whether two outputs are equal in every bit."""
    pairs = zip(as_tuple(ours), as_tuple(theirs), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class ModuleCase(Case):
    """A backbone, neck or head."""

    @abstractmethod
    def make_inputs(self, batch_size: int, seed: int = 0) -> Outputs:
        """Draw what the module is called with."""

    @cached_property
    def module(self) -> nn.Module:
        """A module in evaluation mode that has seen a batch in training, and so has statistics of its own."""
        module: nn.Module = self.build()
        module.train()
        self.run(module, self.make_inputs(2))
        module.eval()
        return module

    def run(self, module: nn.Module, inputs: Outputs) -> Outputs:
        """Call a module without gradients."""
        with torch.no_grad():
            outputs: Outputs = module(inputs)
        return outputs

    def loss(self, module: nn.Module, outputs: Outputs) -> Tensor:
        """Return a scalar that every output is a part of."""
        return torch.stack([output.float().square().sum() for output in as_tuple(outputs)]).sum()

    def check_module(self) -> None:
        """Look at its type."""
        module = self.build()
        if not isinstance(module, nn.Module):
            raise RuleError(
                f"it is {shown(module)}", "derive it from nn.Module, and call super().__init__()", is_fatal=True
            )

    def check_inputs(self) -> None:
        """Compare the inputs before and after."""
        inputs = self.make_inputs(2)
        before = copy.deepcopy(inputs)
        self.run(self.module, inputs)
        if not is_same(inputs, before):
            raise RuleError("it writes into its inputs", "other parts read them: use no inplace=True on them")

    def check_modes(self) -> None:
        """Switch to and fro."""
        module = self.build()
        for mode, name in ((True, "train()"), (False, "eval()")):
            if module.train(mode) is not module:
                raise RuleError(f"{name} does not return it", "end train(self, mode=True) with return self")
        training = [name or "the module itself" for name, part in module.named_modules() if part.training]
        if training:
            raise RuleError(f"after eval() {training[0]} is in training mode", "call super().train(mode)")

    def check_samples(self) -> None:
        """Compare pictures by themselves with the same ones in a batch."""
        inputs = self.make_inputs(2)
        both, again = self.run(self.module, inputs), self.run(self.module, inputs)
        if not is_same(both, again):
            raise RuleError(
                "twice the same gives two results in evaluation",
                "drop nothing out unless self.training",
                is_fatal=True,
            )
        first = tuple(output[:1] for output in as_tuple(both))
        if not is_close(self.run(self.module, _first(inputs)), first):
            raise RuleError(
                "a picture gives something else alone than in a batch of two",
                "take no statistics of the batch unless self.training",
            )

    def check_gradients(self) -> None:
        """Train one step's backward pass."""
        module: nn.Module = self.build()
        module.train()
        loss = self.loss(module, module(self.make_inputs(2)))
        if not loss.requires_grad:
            if any(p.requires_grad for p in module.parameters()):
                raise RuleError("no gradient reaches any parameter", "detach nothing, and compute in tensors")
            return
        loss.backward()  # type: ignore[no-untyped-call]
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        missing = [f"'{name}'" for name, p in trained.items() if p.grad is None]
        if missing:
            raise RuleError(
                f"no gradient reaches {some(missing)}",
                "use it in forward, or remove it: several processes would wait for its gradient",
            )
        bad = [f"'{name}'" for name, p in trained.items() if p.grad is not None and not p.grad.isfinite().all()]
        if bad:
            raise RuleError(f"the gradient of {some(bad)} is not finite", "look for a division by 0 or a log of 0")

    def check_state_dict(self) -> None:
        """Load the state of one into another one."""
        other: nn.Module = self.build(seed=1)
        try:
            other.load_state_dict(self.module.state_dict())
        except Exception as error:
            raise RuleError(
                f"loading it fails with {describe(error)}", "build the same tensors every time"
            ) from error
        inputs = self.make_inputs(2)
        other.eval()
        if not is_same(self.run(other, inputs), self.run(self.module, inputs)):
            raise RuleError(
                "one that loads it computes something else",
                "keep every tensor that is drawn or learnt as a parameter or a buffer",
            )

    def check_copies(self) -> None:
        """Copy it as an average of weights, and as another process does."""
        inputs = self.make_inputs(2)
        expected = self.run(self.module, inputs)
        copies: dict[str, Callable[[Any], nn.Module]] = {"deep": copy.deepcopy, "pickled": pickled}
        for name, make in copies.items():
            if not is_same(self.run(make(self.module), inputs), expected):
                raise RuleError(
                    f"a {name} copy computes something else", "keep all that it needs in attributes of it"
                )

    def check_compiles(self) -> None:
        """Trace it as torch.compile does, without compiling."""
        if getattr(self.module, "compiles", True) is False:
            return
        inputs = self.make_inputs(2)
        torch.compiler.reset()
        try:
            traced = torch.compile(self.module, backend="eager", fullgraph=True, dynamic=False)
            outputs = self.run(traced, inputs)  # type: ignore[arg-type]
        except Exception as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise RuleError(
                f"tracing it fails: {reason}", "compute in tensors alone, or say compiles = False in the class"
            ) from error
        finally:
            torch.compiler.reset()
        if not is_close(outputs, self.run(self.module, inputs)):
            raise RuleError("traced, it computes something else", "or say compiles = False in the class")


def _first(inputs: Outputs) -> Outputs:
    return inputs[:1] if isinstance(inputs, Tensor) else tuple(part[:1] for part in inputs)


def some(names: list[str]) -> str:
    """Join the first few of names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
