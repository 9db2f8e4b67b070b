"""Metrics by hand."""

import pytest
import torch

from clscli.engine.metrics import Totals


def totals(logits, targets, num_classes, batch=2):
    sums = Totals(num_classes, torch.device("cpu"))
    for part, target in zip(logits.split(batch), targets.split(batch), strict=True):
        sums.add(part, target, part.abs().mean(1).sum())
    return sums.result([f"c{i}" for i in range(num_classes)], [])


def test_by_hand():
    # predicted: 0 0 1 1 0; true: 0 1 1 1 2
    predicted = torch.tensor([0, 0, 1, 1, 0])
    result = totals(torch.eye(3)[predicted], torch.tensor([0, 1, 1, 1, 2]), 3)
    assert result.confusion == [[1, 0, 0], [1, 2, 0], [1, 0, 0]]
    assert result.samples == 5
    assert result.top1 == 3 / 5
    assert (result.k, result.top5) == (3, 1.0)
    zero, one, two = result.per_class
    assert (zero.precision, zero.recall, zero.f1, zero.support) == (pytest.approx(1 / 3), 1, pytest.approx(0.5), 1)
    assert (one.precision, one.recall, one.f1) == (1, pytest.approx(2 / 3), pytest.approx(0.8))
    assert (two.precision, two.recall, two.f1) == (0, 0, 0)
    assert result.macro_f1 == pytest.approx((0.5 + 0.8 + 0) / 3)
    assert result.balanced_accuracy == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_classes_without_samples_are_in_no_mean():
    result = totals(torch.eye(3)[torch.tensor([0, 1])], torch.tensor([0, 1]), 3)
    assert result.macro_f1 == 1
    assert result.balanced_accuracy == 1


def test_top5_and_loss_do_not_depend_on_the_batches():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 20, generator=generator)
    targets = torch.randint(20, (50,), generator=generator)
    ranks = (logits > logits.gather(1, targets[:, None])).sum(1)
    for batch in (1, 7, 50):
        result = totals(logits, targets, 20, batch)
        assert result.top1 == (ranks < 1).sum().item() / 50
        assert result.top5 == (ranks < 5).sum().item() / 50
        assert result.loss == pytest.approx(logits.abs().mean().item())
