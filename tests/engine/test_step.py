"""One optimizer step: what gradient it is taken with."""

import pytest
import torch
from torch.nn import functional as F

import clscli
from clscli.data.batch_transforms import BatchTransforms
from clscli.engine.accumulation import groups
from clscli.engine.prepare import prepare
from clscli.engine.progress import EpochSums, Progress
from clscli.engine.session import new_session
from clscli.engine.step import train_step
from clscli.errors import PluginError, SpecError
from clscli.seeds import seed_for
from clscli.spec import load_spec

CPU = torch.device("cpu")
LOSS = {"type": "cross_entropy", "label_smoothing": 0.0}


@pytest.fixture
def plain(tiny):
    """A network without batch norm and dropout, whose weights move by exactly the gradient; batches of 5 and 4."""
    tiny["data"]["batch_size"] = 5
    tiny["transforms"] = {"train": [{"type": "resize", "size": 32}], "eval": [{"type": "resize", "size": 32}]}
    tiny["model"] = {"backbone": {"type": "lenet5"}, "head": {"type": "linear"}, "loss": LOSS}
    tiny["optimizer"] = {"type": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    tiny["scheduler"] = {"type": "constant", "warmup_epochs": 0.0}
    return tiny


def session_of(spec):
    session = new_session(prepare(load_spec(spec)), CPU)
    session.start_training()
    return session


def gradient_of(session, batches):
    """Compute the gradient of the mean over all samples of some batches at once."""
    images, targets = torch.cat([b.images for b in batches]), torch.cat([b.targets for b in batches])
    loss = F.cross_entropy(session.model(images), targets)
    return torch.autograd.grad(loss, list(session.model.parameters()))


def moved_by(session, batches):
    """Take a step and return by how much each parameter became smaller."""
    before = [p.detach().clone() for p in session.model.parameters()]
    train_step(session, batches)
    return [old - new.detach() for old, new in zip(before, session.model.parameters(), strict=True)]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_group_of_batches_is_like_one_large_batch(plain, reduction):
    plain["train"]["accumulation_steps"] = 3
    plain["model"]["loss"] = {**LOSS, "reduction": reduction}
    session = session_of(plain)
    sizes = []
    for group in groups(session.train.epoch(0), 3):
        sizes.append([len(batch.targets) for batch in group])
        num_samples = sum(sizes[-1])
        expected = [g * (num_samples if reduction == "sum" else 1) for g in gradient_of(session, group)]
        torch.testing.assert_close(moved_by(session, group), list(expected), rtol=1e-3, atol=1e-5)
        for parameter in session.model.parameters():  # a large step of a sum would leave nothing to compare
            parameter.data.mul_(0.5)
    assert sizes == [[5, 5, 5], [5, 4]]
    assert session.progress.step == 2
    assert session.progress.samples == 24


def test_accumulated_runs_count_groups(plain):
    plain["optimizer"]["lr"] = 0.01
    plain["scheduler"] = {"type": "cosine", "warmup_epochs": 0.0}
    plain["data"]["batch_size"] = 12
    large = clscli.train(plain, out="large", device="cpu")
    plain["data"]["batch_size"] = 4
    plain["train"]["accumulation_steps"] = 3
    small = clscli.train(plain, out="small", device="cpu")
    assert small.last["step"] == large.last["step"] == 6
    assert small.last["lr"] == large.last["lr"]
    for key in ("train_loss", "loss"):
        assert small.last[key] == pytest.approx(large.last[key], rel=1e-4)


def test_clipping_limits_the_gradient(plain):
    session = session_of(plain)
    batches = list(session.train.epoch(0))[:1]
    gradient = gradient_of(session, batches)
    norm = torch.cat([g.flatten() for g in gradient]).norm().item()

    plain["train"]["clip_grad_norm"] = norm / 4
    shorter = moved_by(session_of(plain), batches)
    torch.testing.assert_close(shorter, [g / 4 for g in gradient], rtol=1e-3, atol=1e-6)

    plain["train"]["clip_grad_norm"] = norm * 4
    torch.testing.assert_close(moved_by(session_of(plain), batches), list(gradient), rtol=1e-4, atol=1e-6)

    del plain["train"]["clip_grad_norm"]
    limit = max(g.abs().max().item() for g in gradient) / 4
    plain["train"]["clip_grad_value"] = limit
    expected = [g.clamp(-limit, limit) for g in gradient]
    torch.testing.assert_close(moved_by(session_of(plain), batches), expected, rtol=1e-4, atol=1e-6)


def test_a_limit_must_be_positive(plain):
    plain["train"]["clip_grad_norm"] = 0.0
    with pytest.raises(SpecError) as info:
        clscli.train(plain, out="run", device="cpu")
    assert info.value.problems == ["spec: train.clip_grad_norm: must be greater than 0.0, got 0.0"]


def test_mixup_trains_with_mixed_pictures_and_targets(plain):
    plain["transforms"]["batch"] = [{"type": "mixup", "alpha": 1.0}]
    session = session_of(plain)
    (batch, *_) = session.train.epoch(0)
    torch.manual_seed(seed_for(0, "step", 0))
    torch.rand(())  # which of the transforms
    share = session.batch_transforms.transforms[0].mix._dist.sample(()).item()
    pictures, one_hot = batch.images.float(), F.one_hot(batch.targets, 2).float()
    mixed = share * pictures + (1 - share) * pictures.roll(1, 0)
    targets = share * one_hot + (1 - share) * one_hot.roll(1, 0)
    logits = session.model(mixed)
    loss = -(targets * logits.log_softmax(1)).sum(1).mean()
    gradient = torch.autograd.grad(loss, list(session.model.parameters()))
    torch.testing.assert_close(moved_by(session, [batch]), list(gradient), rtol=1e-3, atol=1e-6)


def test_the_accuracy_of_a_mixture_is_by_its_larger_share():
    sums = EpochSums(Progress(), CPU)
    logits = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    sums.add(0, logits, torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.1, 0.9]]), torch.tensor(6.0))
    progress = Progress()
    sums.store(progress)
    assert (progress.correct, progress.loss_sum) == (2, 6.0)


class Counting:
    def __init__(self, p):
        self.p = p
        self.calls = 0

    def __call__(self, images, targets):
        self.calls += 1
        return images, F.one_hot(targets, 2).float()


def test_each_batch_gets_one_transform_or_none():
    first, second = Counting(0.5), Counting(0.25)
    transforms = BatchTransforms([first, second], num_classes=2)
    images, targets = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    torch.manual_seed(0)
    for _ in range(1000):
        _, given = transforms(images, targets)
        assert torch.equal(given, torch.eye(2))
    assert first.calls == pytest.approx(500, abs=50)
    assert second.calls == pytest.approx(250, abs=45)
    assert BatchTransforms([], 2)(images, targets) == (images, targets)


def test_what_cannot_mix_is_refused_before_the_run(plain, plugin):
    plain["transforms"]["batch"] = [{"type": "mixup"}, {"type": "cutmix", "p": 0.5}]
    with pytest.raises(SpecError) as info:
        clscli.train(plain, out="run", device="cpu")
    assert info.value.problems == [
        "spec: transforms.batch: a batch gets one of them at most, but their p add up to 1.5"
    ]
    plugin(
        "batch_transforms",
        labels="mixing:Labels",
        mixing="""
        class Labels:
            '''Leave the targets as they are.'''
            p = 1.0
            def __call__(self, images, targets): return images, targets
        """,
    )
    plain["transforms"]["batch"] = [{"type": "labels"}]
    with pytest.raises(PluginError) as info:
        clscli.train(plain, out="run", device="cpu")
    assert str(info.value) == (
        "extra 1.0 (batch transform 'labels') breaks its contract: it must return images as it gets them and "
        "targets float32 (2, 2), not torch.float32 (2, 3, 32, 32) and torch.int64 (2,)"
    )


def test_a_loss_that_cannot_take_mixed_targets_is_refused_before_the_run(plain, plugin):
    plugin(
        "losses",
        indices="losses_extra:indices",
        losses_extra="""
        import torch
        def indices(): return lambda logits, target: logits[torch.arange(len(target)), target].sum()
        """,
    )
    plain["model"]["loss"] = {"type": "indices"}
    plain["transforms"]["batch"] = [{"type": "cutmix"}]
    with pytest.raises(PluginError, match=r"^extra 1\.0 \(loss 'indices'\) failed on logits \(2, 2\): "):
        clscli.train(plain, out="run", device="cpu")


@pytest.mark.parametrize(("rule", "factor"), [("none", 1.0), ("linear", 0.125), ("sqrt", 0.125**0.5)])
def test_the_learning_rate_follows_the_effective_batch(plain, rule, factor, caplog):
    plain["data"]["batch_size"] = 8
    plain["train"] |= {"accumulation_steps": 2, "scale_lr": rule, "base_batch_size": 128, "epochs": 1}
    with caplog.at_level("INFO", logger="clscli"):
        assert clscli.train(plain, out="run", device="cpu").last["lr"] == pytest.approx(factor)
    line = f"learning rate x {factor:.4g}: 16 pictures a step, base_batch_size 128, scale_lr = {rule}"
    assert (line in caplog.messages) == (rule != "none")
