"""What is checked of necks and heads, whose inputs are features."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.errors import describe
from clscli.models.layers.outputs import Outputs
from clscli.signature import wants_all
from clscli.testing.backbones import FeatureCase, random_floats
from clscli.testing.case import NUM_CLASSES, RuleError
from clscli.testing.modules import ModuleCase, as_tuple, is_same, shown

Shapes = tuple[tuple[int, ...], ...]

# What a neck or a head may be made for. Sides differ from each other and from the channels.
_VECTOR: Shapes = ((16,),)
_MAP: Shapes = ((16, 6, 5),)
_SEVERAL: tuple[Shapes, ...] = (
    ((8,), (16,)),
    ((8, 12, 10), (16, 6, 5)),
    ((8, 12, 10), (16,)),
    tuple((8 * 2**i, 64 // 2**i, 48 // 2**i) for i in range(4)),
)


class _OnFeatures(ModuleCase):
    """A neck or head: what goes into it are features."""

    candidates: tuple[Shapes, ...]  # what it is tried with, until it takes something

    @cached_property
    def shapes(self) -> Shapes:
        """Shapes that it takes, without the batch."""
        candidates = self.candidates if self.inputs.features is None else (self.inputs.features,)
        refusals: dict[str, None] = {}  # each once, in order
        for shapes in candidates:
            try:
                self.injected = self.given(shapes)
                module: nn.Module = super().build()
                module.eval()
                self.run(module, _features(shapes, 2))
            except Exception as error:  # it is not for these: which it is for is what is to be found
                refusals[describe(error)] = None
                continue
            return shapes
        raise RuleError(
            f"it takes neither maps nor vectors, one or several: {'; '.join(refusals)}",
            "name features that it takes: "
            f'check_component("{self.bound.component.kind}", "{self.bound.component.name}", '
            "Inputs(features=((8, 14, 14), (16, 7, 7))))",
            is_fatal=True,
        )

    def given(self, shapes: Shapes) -> dict[str, Any]:
        """Return what clscli would give one for features of these shapes."""
        channels = tuple(shape[0] for shape in shapes)
        wants_tuple = self.bound.takes("in_channels") and wants_all(self.bound.function, "in_channels")
        return {"in_channels": channels if wants_tuple else channels[-1], "num_classes": NUM_CLASSES}

    def build(self, seed: int = 0, **injected: Any) -> Any:
        self.injected = self.given(self.shapes)
        return super().build(seed, **injected)

    def make_inputs(self, batch_size: int, seed: int = 0) -> Outputs:
        return _features(self.shapes, batch_size, seed)

    def check_builds(self) -> None:
        """Find features that it takes."""
        _ = self.shapes

    def check_several(self) -> None:
        """Put another output before the last one."""
        if len(self.shapes) > 1 or not isinstance(self.given(self.shapes).get("in_channels"), int):
            return
        last = as_tuple(self.make_inputs(2))[0]
        try:
            outputs = self.run(self.module, (random_floats((2, 7, *last.shape[2:]), 1), last))
            is_last = is_same(as_tuple(outputs)[-1], as_tuple(self.run(self.module, last))[-1])
        except Exception as error:
            raise RuleError(
                f"two outputs fail with {describe(error)}", "begin forward with: outputs[-1] if it is a tuple"
            ) from error
        if not is_last:
            raise RuleError(
                "of two outputs it does not take the last one", "begin forward with: outputs[-1] if it is a tuple"
            )


class NeckCase(_OnFeatures, FeatureCase):
    """A neck."""

    candidates = (_MAP, _VECTOR, *_SEVERAL)


class HeadCase(_OnFeatures):
    """A head."""

    candidates = (_VECTOR, _MAP, *_SEVERAL)

    def check_outputs(self) -> None:
        """Look at the logits in training and in evaluation, for two numbers of classes."""
        for num_classes in (NUM_CLASSES, 2):
            try:
                module: nn.Module = self.build(num_classes=num_classes)
            except ValueError:  # it says why: these features are for another number
                continue
            for mode in (True, False):
                module.train(mode)
                outputs = self.run(module, self.make_inputs(2))
                every = (outputs,) if isinstance(outputs, Tensor) else outputs
                wanted = (2, num_classes)
                if not (isinstance(every, tuple) and every and all(_is_logits(o, wanted) for o in every)):
                    raise RuleError(
                        f"for 2 pictures and {num_classes} classes it returns {shown(outputs)}",
                        f"return float {wanted}",
                        is_fatal=True,
                    )

    def check_predict(self) -> None:
        """Call `predict` if there is one."""
        predict = getattr(self.module, "predict", None)
        if predict is None:
            return
        logits = self.run(predict, self.make_inputs(2))
        if not (isinstance(logits, Tensor) and _is_logits(logits, (2, NUM_CLASSES))):
            raise RuleError(f"predict returns {shown(logits)}", f"return float (2, {NUM_CLASSES}) for 2 pictures")

    def check_loss(self) -> None:
        """Call `loss` if there is one."""
        module: nn.Module = self.build()
        module.train()
        if not callable(getattr(module, "loss", None)):
            return
        value = self.loss(module, module(self.make_inputs(2)))
        if not (isinstance(value, Tensor) and value.ndim == 0 and bool(value.isfinite())):
            raise RuleError(f"loss returns {shown(value)}", "return a finite scalar", is_fatal=True)

    def loss(self, module: nn.Module, outputs: Outputs) -> Tensor:
        """Return the loss as the engine computes it."""
        target = torch.tensor([0, NUM_CLASSES - 1])
        own: Any = getattr(module, "loss", None)
        if callable(own):
            value: Tensor = own(outputs, target, F.cross_entropy)
            return value
        return torch.stack([F.cross_entropy(logits.float(), target) for logits in as_tuple(outputs)]).mean()


def _features(shapes: Shapes, batch_size: int, seed: int = 0) -> Outputs:
    features = tuple(random_floats((batch_size, *shape), seed + i).abs() for i, shape in enumerate(shapes))
    return features if len(features) > 1 else features[0]


def _is_logits(value: Any, shape: tuple[int, int]) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and tuple(value.shape) == shape
