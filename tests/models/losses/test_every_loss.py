"""What holds for every built-in loss."""

import pytest
import torch
from loss_kit import ENTRIES, build, random_batch, random_labels
from torch.nn import functional as F

COUNTS = (40, 20, 10, 5, 1)
# Parameters under which all terms of a loss are at work.
PARAMETERS = {
    "asymmetric": {"gamma_pos": 1.0, "gamma_neg": 2.5, "clip": 0.0},
    "binary_cross_entropy": {"label_smoothing": 0.1, "pos_weight": "balanced"},
    "cross_entropy": {"label_smoothing": 0.1, "class_weights": "balanced"},
    "focal": {"gamma": 1.5},
    "l1": {},
    "label_smooth": {},
    "mse": {},
    "seesaw": {"p": 0.0, "q": 0.0},  # q follows from the logits, but carries no gradient
    "soft_target_kd": {"teacher": "teacher.pth"},
    "softmax_focal": {"gamma": 1.5, "class_weights": "balanced"},
}
HARD_ONLY = {"seesaw"}


def test_they_are_all_here():
    assert set(PARAMETERS) == set(ENTRIES)


@pytest.fixture(params=sorted(PARAMETERS))
def name(request):
    return request.param


def make(name, **parameters):
    return build(name, COUNTS, **PARAMETERS[name] | parameters).eval()


def test_an_index_and_its_one_hot_are_the_same_target(name):
    logits, target = random_batch()
    one_hot = F.one_hot(target, 5)
    if name in HARD_ONLY:
        with pytest.raises(ValueError, match=f"^{name} needs class indices as targets, got soft ones"):
            make(name)(logits, one_hot.double())
    else:
        loss = make(name)
        torch.testing.assert_close(loss(logits, one_hot.float()), loss(logits, target))


def test_the_mean_of_single_samples_is_the_mean_of_the_batch(name):
    logits, target = random_batch()
    loss = make(name, **({"class_weights": "none"} if "class_weights" in PARAMETERS[name] else {}))
    singles = [loss(logits[i : i + 1], target[i : i + 1]) for i in range(len(target))]
    torch.testing.assert_close(loss(logits, target), torch.stack(singles).mean())
    assert torch.stack(singles).std() > 1e-3


def test_sum_is_the_sum_of_single_samples_and_loss_weight_a_factor(name):
    logits, target = random_batch()
    loss = make(name, reduction="sum")
    assert loss.reduction == "sum"
    singles = [loss(logits[i : i + 1], target[i : i + 1]) for i in range(len(target))]
    torch.testing.assert_close(loss(logits, target), torch.stack(singles).sum())
    for reduction in ("mean", "sum"):
        whole, part = (make(name, reduction=reduction, loss_weight=w)(logits, target) for w in (1.0, 0.25))
        torch.testing.assert_close(part, whole / 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_computed_in_32(name, dtype):
    logits, target = random_batch()
    loss = make(name)
    value = loss(logits.to(dtype), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.to(dtype).float(), target), rtol=0, atol=0)


def test_autocast_takes_no_digits(name):
    logits, target = random_batch()
    targets = [target] if name in HARD_ONLY else [target, random_labels().float() * 0.3]
    for each in targets:
        expected = make(name)(logits.float(), each)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = make(name)(logits.float(), each)
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


def test_64_bits_stay_64(name):
    logits, target = random_batch()
    loss = make(name)
    value = loss(logits, target)
    assert value.dtype == torch.float64
    torch.testing.assert_close(loss(logits.float(), target), value.float(), rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_the_numbers(name):
    logits, target = random_batch(samples=4)
    targets = [target] if name in HARD_ONLY else [target, random_labels(samples=4) * 0.9]
    for each in targets:
        assert torch.autograd.gradcheck(make(name), (logits.requires_grad_(), each))


FOCUSED = [
    (name, dict.fromkeys(gammas, value))
    for name, gammas in [
        ("focal", ["gamma"]),
        ("softmax_focal", ["gamma"]),
        ("asymmetric", ["gamma_pos", "gamma_neg"]),
    ]
    for value in (0.0, 0.5, 1.0)
]


@pytest.mark.parametrize(("name", "parameters"), [*((name, {}) for name in sorted(PARAMETERS)), *FOCUSED])
def test_certain_logits_have_finite_gradients(name, parameters):
    loss = make(name, **parameters)
    for scale in (1.0, 20.0, 200.0, 1e4):
        logits = (scale * (2 * torch.eye(5) - 1)).requires_grad_()
        for target in (torch.arange(5), torch.arange(5).flip(0)):
            value = loss(logits, target)
            (gradient,) = torch.autograd.grad(value, logits)
            assert value.isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_falls_along_its_gradient(name, training):
    logits, target = random_batch()
    loss = make(name).train(training)
    logits.requires_grad_()
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert loss(logits - 0.1 * gradient, target) < value


def test_only_what_training_counts_is_in_the_state_dict(name):
    assert list(make(name).state_dict()) == (["seen"] if name == "seesaw" else [])
