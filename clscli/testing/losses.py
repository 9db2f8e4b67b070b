"""What is checked of losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.errors import describe
from clscli.models.losses.contract import Teacher, given_images, reduction_of
from clscli.testing.case import NUM_CLASSES, Case, RuleError
from clscli.testing.modules import shown

_SAMPLES = 8
_COUNTS = (40, 20, 10, 5, 1)


def _load_teacher(_: Path) -> Teacher:
    """Open a teacher that knows nothing about any picture."""
    return lambda images: torch.zeros(len(images), NUM_CLASSES)


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(_SAMPLES, NUM_CLASSES, generator=generator)
    return logits, torch.randint(NUM_CLASSES, (_SAMPLES,), generator=generator)


class LossCase(Case):
    """A loss, as it is in evaluation: one that counts in training would change from one check to the next."""

    injected: Mapping[str, Any] = {
        "num_classes": NUM_CLASSES,
        "class_counts": _COUNTS,
        "num_samples": sum(_COUNTS),
        "load_teacher": _load_teacher,
    }

    def make(self) -> Any:
        """Build one."""
        loss = self.build()
        return loss.eval() if isinstance(loss, nn.Module) else loss

    def check_scalar(self) -> None:
        """Call it with class indices."""
        logits, target = _batch()
        value = self.make()(logits, target)
        if not (isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()):
            raise RuleError(f"it returns {shown(value)}", "return loss.mean()", is_fatal=True)
        if not value.isfinite():
            raise RuleError(f"for logits about 2 it is {value.item()}", "look for a log of 0", is_fatal=True)

    def check_soft_targets(self) -> None:
        """Call it with distributions."""
        logits, target = _batch()
        soft = 0.9 * F.one_hot(target, NUM_CLASSES).float() + 0.1 / NUM_CLASSES
        try:
            value = self.make()(logits, soft)
        except ValueError as error:
            if not str(error):
                raise RuleError("it refuses them without a word", "say in the ValueError what it needs") from error
            return
        except Exception as error:
            raise RuleError(
                f"targets float (B, K) fail with {describe(error)}",
                "take them, or raise a ValueError that says so: mixup makes such targets",
            ) from error
        if not (isinstance(value, Tensor) and value.ndim == 0 and bool(value.isfinite())):
            raise RuleError(f"for targets float (B, K) it returns {shown(value)}", "return a finite scalar")

    def check_gradients(self) -> None:
        """Take a small step along the gradient."""
        logits, target = _batch()
        logits, loss = logits.requires_grad_(), self.make()
        value = loss(logits, target)
        if not value.requires_grad:
            raise RuleError("the logits get none", "detach nothing, and compute in tensors", is_fatal=True)
        (gradient,) = torch.autograd.grad(value, logits)
        if not gradient.isfinite().all():
            raise RuleError("the gradient is not finite", "look for a division by 0 or a log of 0")

    def check_finite(self) -> None:
        """Try logits that leave no doubt."""
        loss, target = self.make(), torch.arange(NUM_CLASSES)
        for scale in (20.0, 1000.0):
            logits = (scale * (2 * torch.eye(NUM_CLASSES) - 1)).requires_grad_()
            for name, truth in (("right", target), ("wrong", target.flip(0))):
                value = loss(logits, truth)
                (gradient,) = torch.autograd.grad(value, logits)
                if not (value.isfinite() and gradient.isfinite().all()):
                    raise RuleError(
                        f"for logits of {scale:g} and the {name} classes it is {value.item():g}"
                        + ("" if gradient.isfinite().all() else ", with a gradient that is not finite"),
                        "compute it from log_softmax or logsigmoid rather than from probabilities",
                    )

    def check_direction(self) -> None:
        """Compare sure logits of the right and of other classes."""
        loss, target = self.make(), torch.arange(NUM_CLASSES)
        logits = 5 * (2 * torch.eye(NUM_CLASSES) - 1)
        right, wrong = loss(logits, target).item(), loss(logits, target.roll(1)).item()
        if not right < wrong:
            raise RuleError(
                f"it is {right:.3g} for the right classes and {wrong:.3g} for wrong ones",
                "return what is to be made small: perhaps a minus is missing",
            )

    def check_reduction(self) -> None:
        """Give it every sample twice."""
        logits, target = _batch()
        loss = self.make()
        once, twice = loss(logits, target), loss(torch.cat([logits, logits]), torch.cat([target, target]))
        reduction = reduction_of(loss)
        if not torch.allclose(twice, 2 * once if reduction == "sum" else once, rtol=1e-4):
            raise RuleError(
                f"it says it is a {reduction}, but of every sample twice it is {twice / once:.3g} times as large",
                'divide by the number of samples, or set reduction = "sum"',
            )

    def check_inputs(self) -> None:
        """Compare logits and targets before and after."""
        given = _batch()
        self.make()(*given)
        for name, tensor, before in zip(("logits", "target"), given, _batch(), strict=True):
            if not torch.equal(tensor, before):
                raise RuleError(
                    f"it writes into the {name}", "other losses read them: use no operation with _", is_fatal=True
                )

    def check_state_dict(self) -> None:
        """Load the state of one into another one."""
        loss = self.build()
        if isinstance(loss, nn.Module):
            loss.train()(*_batch())
            try:
                self.build().load_state_dict(loss.state_dict())
            except Exception as error:
                raise RuleError(
                    f"loading it fails with {describe(error)}", "build the same tensors every time"
                ) from error

    def check_given(self) -> None:
        """Hand it images if it wants them."""
        loss = self.build()
        images = torch.zeros(_SAMPLES, 3, 8, 8, dtype=torch.uint8)
        value = given_images(loss, images)(*_batch())
        if not (isinstance(value, Tensor) and value.ndim == 0):
            raise RuleError(f"the loss of one batch returns {shown(value)}", "return a scalar")
