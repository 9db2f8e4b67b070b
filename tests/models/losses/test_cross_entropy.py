"""Cross entropy, against numbers computed by hand."""

import pytest
import torch
from loss_kit import LOGITS, TARGET, build, log
from torch.nn import functional as F


def cross_entropy(**parameters):
    return build("cross_entropy", **parameters)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, (log(2) + log(8)) / 2),
        ({"reduction": "sum"}, log(2) + log(8)),
        # the weights are not divided by
        ({"class_weights": [1.0, 3.0, 5.0], "reduction": "sum"}, log(2) + 3 * log(8)),
        ({"loss_weight": 0.25}, (log(2) + log(8)) / 8),
        # weights 1 and 3: (1 log 2 + 3 log 8) / (1 + 3)
        ({"class_weights": [1.0, 3.0, 5.0]}, (log(2) + 3 * log(8)) / 4),
        # 10 / (3 * 6) and 10 / (3 * 3)
        ({"class_weights": "balanced"}, (5 / 9 * log(2) + 10 / 9 * log(8)) / (5 / 9 + 10 / 9)),
        # 0.7 + 0.1 for the class, 0.1 for each of the others
        (
            {"label_smoothing": 0.3},
            ((0.8 * log(2) + 0.2 * log(4)) + (0.8 * log(8) + 0.1 * log(8) + 0.1 * log(4 / 3))) / 2,
        ),
    ],
)
def test_by_hand(parameters, expected):
    assert cross_entropy(**parameters)(LOGITS, TARGET).item() == pytest.approx(expected)


def test_soft_target_by_hand():
    target = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    expected = (0.5 * log(2) + 0.5 * log(4) + log(4 / 3)) / 2
    assert cross_entropy()(LOGITS, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced", [0.2, 1.0, 7.0]])
def test_an_index_and_its_one_hot_are_the_same_target(label_smoothing, class_weights):
    loss = cross_entropy(label_smoothing=label_smoothing, class_weights=class_weights)
    one_hot = F.one_hot(TARGET, 3).float()
    torch.testing.assert_close(loss(LOGITS, one_hot), loss(LOGITS, TARGET))
    weight = loss.weight
    expected = F.cross_entropy(LOGITS, TARGET, weight, label_smoothing=label_smoothing)
    torch.testing.assert_close(loss(LOGITS, TARGET), expected)


def test_smoothing_is_a_soft_target():
    smoothed = 0.9 * F.one_hot(TARGET, 3) + 0.1 / 3
    torch.testing.assert_close(
        cross_entropy(label_smoothing=0.1)(LOGITS, TARGET), cross_entropy()(LOGITS, smoothed)
    )


def test_equal_counts_are_balanced_already():
    balanced = build("cross_entropy", (5, 5, 5), class_weights="balanced")
    assert balanced.weight.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_weights_are_not_in_the_state_dict(class_weights):
    assert cross_entropy(class_weights=class_weights).state_dict() == {}


def test_weights_move_with_the_module():
    assert cross_entropy(class_weights="balanced").to("meta").weight.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_other_precision(dtype):
    loss = cross_entropy(class_weights="balanced", label_smoothing=0.1)
    expected = loss(LOGITS.to(dtype).float(), TARGET)
    value = loss(LOGITS.to(dtype), TARGET)
    assert value.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(value.float(), expected)


def test_gradients_reach_the_logits():
    logits = LOGITS.clone().requires_grad_()
    cross_entropy()(logits, TARGET).backward()
    # (softmax - one hot) / batch size
    expected = torch.tensor([[-0.5, 0.25, 0.25], [0.125, -0.875, 0.75]]) / 2
    torch.testing.assert_close(logits.grad, expected)


def test_wrong_number_of_weights():
    message = "class_weights needs one weight for each of the 3 classes, got 2"
    with pytest.raises(ValueError, match=f"^{message}$"):
        cross_entropy(class_weights=[1.0, 2.0])


def test_balanced_needs_samples_of_every_class():
    message = (
        'class_weights = "balanced" needs training samples of every class, but there are none of class 1, 2 '
        r"\(counted from 0\)"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("cross_entropy", (4, 0, 0), class_weights="balanced")
