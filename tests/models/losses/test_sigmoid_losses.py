"""Losses with a sigmoid for each class: by hand, and against torchvision, timm and mmpretrain."""

import pytest
import torch
from loss_kit import ODDS, TARGET, build, log, mmpretrain_loss, random_batch, random_labels, timm_loss
from torch.nn import functional as F

# Of the probabilities (3/4, 1/2, 1/4) with target 0, and (1/2, 4/5, 1/5) with target 1.
FIRST = [-log(3 / 4), -log(1 / 2), -log(3 / 4)]
SECOND = [-log(1 / 2), -log(4 / 5), -log(4 / 5)]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, sum(FIRST + SECOND) / 6),
        ({"sum_classes": True}, sum(FIRST + SECOND) / 2),
        ({"sum_classes": True, "reduction": "sum"}, sum(FIRST + SECOND)),
        ({"pos_weight": [3.0, 5.0, 7.0]}, (sum(FIRST + SECOND) + 2 * FIRST[0] + 4 * SECOND[1]) / 6),
        # 6, 3 and 1 samples: 4 / 6 and 7 / 3
        ({"pos_weight": "balanced"}, (sum(FIRST + SECOND) + (4 / 6 - 1) * FIRST[0] + (7 / 3 - 1) * SECOND[1]) / 6),
    ],
)
def test_binary_cross_entropy_by_hand(parameters, expected):
    assert build("binary_cross_entropy", **parameters)(ODDS, TARGET).item() == pytest.approx(expected)


def test_the_threshold_shows_both_classes_of_a_mixture_in_full():
    loss = build("binary_cross_entropy", target_threshold=0.2)
    mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.1, 0.9]])
    full = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(loss(ODDS, mixed), F.binary_cross_entropy_with_logits(ODDS, full))


@pytest.mark.parametrize("sum_classes", [True, False])
@pytest.mark.parametrize("threshold", [None, 0.2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_as_timm(smoothing, threshold, sum_classes):
    logits, target = random_batch()
    pos_weight = [1.0, 2.0, 0.5, 3.0, 1.5]
    theirs = timm_loss(
        "BinaryCrossEntropy",
        smoothing=smoothing,
        target_threshold=threshold,
        sum_classes=sum_classes,
        pos_weight=torch.tensor(pos_weight),
    )
    ours = build(
        "binary_cross_entropy",
        (1,) * 5,
        label_smoothing=smoothing,
        target_threshold=threshold,
        sum_classes=sum_classes,
        pos_weight=pos_weight,
    )
    torch.testing.assert_close(ours(logits, target), theirs(logits, target))
    if smoothing == 0:  # timm smooths indices and labels differently: here a one-hot is its index
        labels = random_labels() * 0.8
        torch.testing.assert_close(ours(logits, labels), theirs(logits, labels))


def test_wrong_number_of_weights():
    with pytest.raises(ValueError, match=r"^pos_weight needs one weight for each of the 3 classes, got 1$"):
        build("binary_cross_entropy", pos_weight=[1.0])


def test_focal_by_hand():
    # (1 - p of what is true)^2, and 1/4 for positives, 3/4 for negatives
    weights = [1 / 4 / 16, 3 / 4 / 4, 3 / 4 / 16, 3 / 4 / 4, 1 / 4 / 25, 3 / 4 / 25]
    expected = sum(w * loss for w, loss in zip(weights, FIRST + SECOND, strict=True))
    assert build("focal")(ODDS, TARGET).item() == pytest.approx(expected / 2)
    assert build("focal", sum_classes=False)(ODDS, TARGET).item() == pytest.approx(expected / 6)


def test_focal_without_focus_is_binary_cross_entropy():
    logits, _ = random_batch()
    focal = build("focal", gamma=0.0, alpha="none", sum_classes=False)
    torch.testing.assert_close(
        focal(logits, random_labels()), F.binary_cross_entropy_with_logits(logits, random_labels())
    )


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.75), (2.0, "none")])
def test_focal_as_torchvision(gamma, alpha):
    ops = pytest.importorskip("torchvision.ops")
    logits, _ = random_batch()
    for labels in (random_labels(), random_labels() * 0.8):
        theirs = ops.sigmoid_focal_loss(
            logits, labels, alpha=-1 if alpha == "none" else alpha, gamma=gamma, reduction="none"
        )
        for reduction in ("mean", "sum"):
            ours = build("focal", gamma=gamma, alpha=alpha, reduction=reduction, sum_classes=False)
            expected = theirs.mean(1)
            torch.testing.assert_close(ours(logits, labels), getattr(expected, reduction)())


@pytest.mark.mmpretrain
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.0, 0.6)])
def test_focal_as_mmpretrain(gamma, alpha):
    logits, target = random_batch()
    theirs = mmpretrain_loss("FocalLoss", gamma=gamma, alpha=alpha)
    for labels in (F.one_hot(target, 5).double(), random_labels()):
        each = build("focal", gamma=gamma, alpha=alpha, sum_classes=False)
        torch.testing.assert_close(each(logits, labels), theirs(logits, labels))
        # Its heads divide by the number of samples, which is the default here.
        summed = build("focal", gamma=gamma, alpha=alpha)
        torch.testing.assert_close(summed(logits, labels), theirs(logits, labels, avg_factor=16))


def test_asymmetric_by_hand():
    # Present: log p times (1 - p)^1. Absent: log(1 - m) times m^2, where m = p - 0.3, at least 0.
    loss = build("asymmetric", gamma_pos=1.0, gamma_neg=2.0, clip=0.3)
    first = -log(3 / 4) / 4 - log(0.8) * 0.2**2 - 0
    second = -log(0.8) * 0.2**2 - log(4 / 5) / 5 - 0
    assert loss(ODDS, TARGET).item() == pytest.approx((first + second) / 2)


def test_asymmetric_with_equal_sides_is_focal():
    logits, _ = random_batch()
    asymmetric = build("asymmetric", gamma_pos=2.0, gamma_neg=2.0, clip=0.0)
    focal = build("focal", gamma=2.0, alpha="none")
    torch.testing.assert_close(asymmetric(logits, random_labels()), focal(logits, random_labels()))


CASES = [(0.0, 4.0, 0.05), (1.0, 2.0, 0.0), (1.0, 3.0, 0.2)]


@pytest.mark.mmpretrain
@pytest.mark.parametrize(("gamma_pos", "gamma_neg", "clip"), CASES)
def test_asymmetric_as_mmpretrain(gamma_pos, gamma_neg, clip):
    logits, _ = random_batch()
    parameters = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}
    theirs = mmpretrain_loss("AsymmetricLoss", **parameters)
    ours, averaged = build("asymmetric", **parameters), build("asymmetric", **parameters, sum_classes=False)
    torch.testing.assert_close(ours(logits, random_labels()), theirs(logits, random_labels(), avg_factor=16))
    torch.testing.assert_close(averaged(logits, random_labels()), theirs(logits, random_labels()))


@pytest.mark.parametrize(("gamma_pos", "gamma_neg", "clip"), CASES)
def test_asymmetric_as_timm(gamma_pos, gamma_neg, clip):
    logits, _ = random_batch()
    parameters = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}
    theirs = timm_loss("AsymmetricLossMultiLabel", **parameters)
    logits = logits.float()  # in which timm computes
    torch.testing.assert_close(
        build("asymmetric", **parameters)(logits, random_labels()), theirs(logits, random_labels())
    )
