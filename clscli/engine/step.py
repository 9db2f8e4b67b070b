"""One optimizer step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clscli.data.loader import Batch
from clscli.engine.distributed import whole
from clscli.engine.metrics import batch_total
from clscli.engine.schedules import apply_schedule
from clscli.engine.session import Session
from clscli.models.classifier import Classifier
from clscli.models.layers.outputs import Outputs
from clscli.models.losses.contract import Loss, given_images, reduction_of
from clscli.seeds import seed_for

# In the place of an empty slice: batch norm over maps of one pixel refuses a single picture.
_STAND_INS = 2


def train_step(session: Session, group: Sequence[Batch]) -> bool:
    """Take one optimizer step, with the gradient of the mean over all samples of a group of batches.

    With several processes, the group consists of all their slices. Returns False, and does nothing, when no
    sample of it could be read.

    A loss that is a sum over its batch is added up over the group. What a loss or a layer computes across
    the samples of a batch, as batch norm does, it computes in each batch of the group for itself.
    """
    s, step = session, session.progress.step
    num_samples = s.world.sum(sum(len(batch.targets) for batch in group))
    if not num_samples:
        return False
    if s.world.size == 1:
        group = [batch for batch in group if len(batch.targets)]
    # Dropout, stochastic depth and mixing depend on the step alone, so that a resumed run draws the same.
    torch.manual_seed(seed_for(s.seed, "step", step, *[s.world.rank] * (s.world.rank > 0)))
    apply_schedule(s.schedule, s.optimizer, step)

    s.optimizer.zero_grad(set_to_none=True)
    is_sum = reduction_of(s.loss) == "sum"
    for batch in group:
        share = 1.0 if is_sum else len(batch.targets) / num_samples
        with s.keep_gradients(is_last=batch is group[-1]):
            # What several processes exchange is the mean of their gradients: this makes it the sum.
            add_gradient(s, batch, share * s.world.size)
    s.prove_replica()
    clip_gradients(s)
    s.scaler.step(s.optimizer)
    s.scaler.update()

    s.progress.step += 1
    s.progress.samples += num_samples
    s.state.step, s.state.lr = s.progress.step, s.optimizer.param_groups[0]["lr"]
    return True


def add_gradient(session: Session, batch: Batch, share: float) -> None:
    """Add `share` times the gradient of one batch's loss, and the batch to the sums of the epoch.

    A process whose slice is empty computes black pictures that count for nothing: the others wait for it.
    """
    s, is_empty = session, not len(batch.targets)
    if is_empty:
        batch, share = _stand_in(s), 0.0
    images, targets = s.batch_transforms(batch.images.to(s.device), batch.targets.to(s.device))
    images = s.state.images = images.contiguous(memory_format=s.execution.memory_format)
    with s.execution.autocast(s.device):
        criterion = given_images(s.loss, images)
        outputs = s.forward(images)
        loss = head_loss(s.model, outputs, targets, criterion)
    torch.autograd.backward(s.scaler.scale(loss * share))
    if is_empty:
        return
    logits = outputs if isinstance(outputs, Tensor) else outputs[0]
    s.sums.add(s.progress.step, logits, targets, batch_total(s.loss, loss.detach(), len(targets)))


def _stand_in(session: Session) -> Batch:
    assert session.image_shape is not None
    images = torch.zeros(_STAND_INS, *session.image_shape, dtype=torch.uint8)
    targets = torch.stack([session.train.view.target(0)] * _STAND_INS)
    return Batch(images, targets, torch.zeros(_STAND_INS, dtype=torch.int64), [])


def head_loss(model: Classifier, outputs: Outputs, targets: Tensor, criterion: Loss) -> Tensor:
    """Compute the loss: by the head's own `loss` if it has one, else the mean over all that it returns."""
    own = getattr(model.head, "loss", None)
    if callable(own):
        loss: Tensor = own(outputs, targets, criterion)
        return loss
    if isinstance(outputs, Tensor):
        return criterion(outputs.float(), targets)
    return torch.stack([criterion(logits.float(), targets) for logits in outputs]).mean()


def clip_gradients(session: Session) -> None:
    """Limit each element of the gradient, then its norm over all parameters, as far as the spec asks for it."""
    s, limits = session, session.options
    if limits.clip_grad_value is None and limits.clip_grad_norm is None:
        return
    s.scaler.unscale_(s.optimizer)  # the limits are for the gradient itself
    parameters = [p for group in s.optimizer.param_groups for p in group["params"]]
    if limits.clip_grad_value is not None:
        nn.utils.clip_grad_value_(parameters, limits.clip_grad_value)
    if limits.clip_grad_norm is not None:
        s.sums.add_grad_norm(whole(nn.utils.clip_grad_norm_(parameters, limits.clip_grad_norm)))
