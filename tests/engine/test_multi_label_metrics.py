"""Metrics of several labels a picture, by hand and by brute force."""

import pytest
import torch

from clscli.engine.multi_label_metrics import Scores, average_precision


def brute_force(scores, labels):
    """Go down the ranking threshold by threshold: the sum of precision times the recall that each one gains."""
    total, recall_before, positives = 0.0, 0.0, sum(labels)
    for threshold in sorted(set(scores), reverse=True):
        taken = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
        recall = sum(taken) / positives
        total += sum(taken) / len(taken) * (recall - recall_before)
        recall_before = recall
    return total


def test_average_precision_by_hand():
    # From the best score down: yes, no, yes, no. Precision at the two: 1 and 2/3.
    scores, labels = torch.tensor([0.1, 0.9, 0.5, 0.7]), torch.tensor([False, True, True, False])
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, torch.zeros(4, dtype=torch.bool)) == 0.0
    assert average_precision(scores, torch.ones(4, dtype=torch.bool)) == 1.0


def test_samples_of_one_score_are_taken_together():
    for labels in ([True, False, False], [False, False, True]):
        assert average_precision(torch.zeros(3), torch.tensor(labels)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("levels", [3, 10_000])
def test_average_precision_is_what_brute_force_gives(levels):
    generator = torch.Generator().manual_seed(levels)
    scores = torch.randint(levels, (60,), generator=generator).float()
    labels = torch.rand(60, generator=generator) < 0.3
    expected = brute_force(scores.tolist(), labels.tolist())
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


def scores_of(logits, labels, batch, threshold=0.5):
    scores = Scores(logits.shape[1], threshold)
    for part, target in zip(logits.split(batch), labels.float().split(batch), strict=True):
        scores.add(part, target, part.abs().mean(1).sum())
    return scores.result([f"c{i}" for i in range(logits.shape[1])], [("bad.png", "torn")])


def test_counts_at_a_threshold_by_hand():
    logits = torch.tensor([[2.0, -1.0, 0.0], [1.0, 1.0, -3.0], [-2.0, 3.0, -1.0]])
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    result = scores_of(logits, labels, 2)
    zero, one, two = result.per_class
    assert (zero.precision, zero.recall, zero.f1, zero.support) == (0.5, 0.5, 0.5, 2)
    assert (one.precision, one.recall, one.f1, one.support, one.average_precision) == (1, 1, 1, 2, 1)
    assert (two.precision, two.recall, two.f1, two.support, two.average_precision) == (0, 0, 0, 0, 0)
    assert zero.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (result.micro_precision, result.micro_recall) == (3 / 5, 3 / 4)  # a logit of 0 is a score of 0.5: given
    assert result.micro_f1 == pytest.approx(6 / 9)
    # c2 never occurs, and is in no mean.
    assert (result.macro_precision, result.macro_recall, result.macro_f1) == (0.75, 0.75, 0.75)
    assert result.map == pytest.approx((zero.average_precision + 1) / 2)
    assert result.loss == pytest.approx(logits.abs().mean().item())
    assert result.unreadable == [("bad.png", "torn")]
    strict = scores_of(logits, labels, 2, threshold=0.95)
    assert [c.recall for c in strict.per_class] == [0, 0.5, 0]
    assert strict.map == result.map


def test_numbers_do_not_depend_on_batches_or_order():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=generator).round(decimals=1)
    labels = torch.rand(50, 7, generator=generator) < 0.3
    shuffled = torch.randperm(50, generator=generator)
    first = scores_of(logits, labels, 50).as_json()
    for other in (scores_of(logits, labels, 7), scores_of(logits[shuffled], labels[shuffled], 11)):
        found = other.as_json()
        assert found.pop("loss") == pytest.approx(first["loss"])
        assert found == {key: value for key, value in first.items() if key != "loss"}


def test_nothing_to_evaluate():
    result = Scores(2).result(["a", "b"], [])
    assert (result.samples, result.map, result.micro_f1, result.loss) == (0, 0.0, 0.0, 0.0)
