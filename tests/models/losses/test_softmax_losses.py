"""Losses with a softmax over the classes: by hand, and against mmpretrain."""

import pytest
import torch
from loss_kit import LOGITS, TARGET, build, log, mmpretrain_loss, random_batch, random_labels
from torch.nn import functional as F


@pytest.mark.parametrize(("mode", "s"), [("original", 0.3), ("classy_vision", 0.3 / 1.3)])
def test_label_smoothing_under_a_softmax_by_hand(mode, s):
    first = (1 - s) * log(2) + s * (log(2) + 2 * log(4)) / 3
    second = (1 - s) * log(8) + s * (2 * log(8) + log(4 / 3)) / 3
    loss = build("label_smooth", label_smoothing=0.3, mode=mode)
    assert loss(LOGITS, TARGET).item() == pytest.approx((first + second) / 2)


def test_original_smoothing_is_that_of_cross_entropy():
    torch.testing.assert_close(
        build("label_smooth", label_smoothing=0.2)(LOGITS, TARGET),
        build("cross_entropy", label_smoothing=0.2)(LOGITS, TARGET),
    )


def test_multi_label_smoothing_by_hand():
    loss = build("label_smooth", label_smoothing=0.2, mode="multi_label")
    target = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.8, 0.2]])
    torch.testing.assert_close(loss(LOGITS, TARGET), F.binary_cross_entropy_with_logits(LOGITS, target))


@pytest.mark.mmpretrain
@pytest.mark.parametrize("mode", ["original", "classy_vision", "multi_label"])
def test_label_smoothing_as_mmpretrain(mode):
    logits, target = (tensor.float() if tensor.is_floating_point() else tensor for tensor in random_batch())
    sigmoid = mode == "multi_label"
    theirs = mmpretrain_loss(
        "LabelSmoothLoss", label_smooth_val=0.15, num_classes=5, mode=mode, use_sigmoid=sigmoid
    )
    ours = build("label_smooth", (1,) * 5, label_smoothing=0.15, mode=mode)
    for each in (target, random_labels()):
        torch.testing.assert_close(ours(logits, each), theirs(logits, each))


def test_softmax_focal_by_hand():
    loss = build("softmax_focal", gamma=2.0)
    # (1 - 1/2)^2 log 2 and (1 - 1/8)^2 log 8
    expected = (log(2) / 4 + 49 / 64 * log(8)) / 2
    assert loss(LOGITS, TARGET).item() == pytest.approx(expected)
    weighted = build("softmax_focal", gamma=2.0, class_weights=[1.0, 3.0, 5.0])
    assert weighted(LOGITS, TARGET).item() == pytest.approx((log(2) / 4 + 3 * 49 / 64 * log(8)) / 4)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_softmax_focal_without_focus_is_cross_entropy(class_weights):
    mixed = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    for target in (TARGET, mixed):
        torch.testing.assert_close(
            build("softmax_focal", gamma=0.0, class_weights=class_weights)(LOGITS, target),
            build("cross_entropy", class_weights=class_weights)(LOGITS, target),
        )


def test_seesaw_by_hand():
    # Counts 6, 3, 1. Target 0: the others are rarer, by 1/2 and 1/6, and less likely. Target 1: class 0 is more
    # frequent and as likely, class 2 rarer by 1/3 and 6 times as likely.
    loss = build("seesaw", p=0.5, q=2.0).eval()
    first = log(1 + (0.5**0.5 * 1 + (1 / 6) ** 0.5 * 1) / 2)
    second = log(1 + 1 + (1 / 3) ** 0.5 * 6**2 * 6)
    assert loss(LOGITS, TARGET).item() == pytest.approx((first + second) / 2)


def test_seesaw_takes_a_hopeless_target_for_no_less_likely_than_eps():
    logits = torch.tensor([[0.0, 8.0]])
    p = logits.softmax(1)[0]
    loss = build("seesaw", (1, 1), q=1.0, eps=0.1).eval()
    expected = -log(p[0] / (p[0] + p[1] * (p[1] / 0.1)))
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(expected)


def test_seesaw_without_its_factors_is_cross_entropy():
    torch.testing.assert_close(
        build("seesaw", p=0.0, q=0.0)(LOGITS, TARGET), build("cross_entropy")(LOGITS, TARGET)
    )


def test_seesaw_counts_in_training_alone_and_goes_on_counting_after_a_reload():
    loss = build("seesaw")
    loss(LOGITS, TARGET)
    loss(LOGITS, torch.tensor([1, 1]))
    assert loss.seen.tolist() == [1, 3, 0]
    loss.eval()(LOGITS, TARGET)
    assert loss.seen.tolist() == [1, 3, 0]
    again = build("seesaw")
    again.load_state_dict(loss.state_dict())
    again(LOGITS, TARGET)
    assert again.seen.tolist() == [2, 4, 0]
    assert again.class_counts.tolist() == [6, 3, 1]


@pytest.mark.mmpretrain
def test_seesaw_as_mmpretrain():
    logits, _ = random_batch()
    generator = torch.Generator().manual_seed(3)
    theirs = mmpretrain_loss("SeesawLoss", num_classes=5, p=0.8, q=2.0, eps=0.01)
    ours = build("seesaw", (1,) * 5)
    for _ in range(3):  # the counts grow
        target = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 1, 0, 2])
        target = target[torch.randperm(16, generator=generator)]
        expected = theirs.double()(logits, target)
        torch.testing.assert_close(ours(logits, target), expected, rtol=1e-5, atol=1e-6)


def test_distances_by_hand():
    differences = [[-1 / 2, 1 / 4, 1 / 4], [1 / 8, -7 / 8, 3 / 4]]
    absolute = sum(abs(d) for row in differences for d in row)
    squared = sum(d * d for row in differences for d in row)
    for name, total in (("l1", absolute), ("mse", squared)):
        assert build(name)(LOGITS, TARGET).item() == pytest.approx(total / 6)
        assert build(name, sum_classes=True)(LOGITS, TARGET).item() == pytest.approx(total / 2)


def test_distances_of_logits_as_torch():
    logits, _ = random_batch()
    labels = random_labels()
    torch.testing.assert_close(build("l1", scores="logits")(logits, labels), F.l1_loss(logits, labels))
    torch.testing.assert_close(build("mse", scores="logits")(logits, labels), F.mse_loss(logits, labels))
