"""Learning from a teacher's logits, and adding losses up."""

from pathlib import Path

import pytest
import torch
from loss_kit import LOGITS, TARGET, build, log, random_batch
from torch import nn
from torch.nn import functional as F

from clscli.models.losses.contract import given_images, reduction_of
from clscli.models.losses.total import TotalLoss

IMAGES = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
TAUGHT = torch.tensor([[1.0, 1.0, 2.0], [1.0, 6.0, 1.0]]).log()  # 1/4, 1/4, 1/2 and 1/8, 3/4, 1/8
HARD = (log(2) + log(8)) / 2


def teaching(logits):
    """Open any path as a teacher that knows the images above."""

    def load_teacher(path):
        assert path == Path("teacher.pth")

        def teacher(images):
            assert images is IMAGES
            return logits

        return teacher

    return load_teacher


def distil(taught=TAUGHT, **parameters):
    return build("soft_target_kd", load_teacher=teaching(taught), teacher=Path("teacher.pth"), **parameters)


def test_by_hand():
    # KL from the student: sum of t log(t / s), at temperature 1
    first = log(1 / 2) / 4 + log(1) / 4 + log(2) / 2
    second = log(1) / 8 + 3 / 4 * log(6) + log(1 / 6) / 8
    soft = (first + second) / 2
    for alpha in (0.0, 0.3, 1.0):
        value = distil(temperature=1.0, alpha=alpha).given(IMAGES)(LOGITS, TARGET).item()
        assert value == pytest.approx((1 - alpha) * HARD + alpha * soft)
        summed = distil(temperature=1.0, alpha=alpha, reduction="sum").given(IMAGES)(LOGITS, TARGET).item()
        assert summed == pytest.approx(2 * value)
        weighted = distil(temperature=1.0, alpha=alpha, loss_weight=3.0).given(IMAGES)(LOGITS, TARGET).item()
        assert weighted == pytest.approx(3 * value)


def test_temperature_as_in_the_paper():
    # Hot, the gradient is that of half the squared distance of the centred logits, over K = 3 (section 2.1).
    logits = LOGITS.clone().double().requires_grad_()
    value = distil(TAUGHT.double(), temperature=1e4, alpha=1.0).given(IMAGES)(logits, TARGET)
    (gradient,) = torch.autograd.grad(value, logits)
    centred = [x - x.mean(1, keepdim=True) for x in (LOGITS.double(), TAUGHT.double())]
    torch.testing.assert_close(gradient, (centred[0] - centred[1]) / 3 / 2, rtol=1e-3, atol=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    logits = LOGITS.clone().requires_grad_()
    value = distil(LOGITS, alpha=1.0).given(IMAGES)(logits, TARGET)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(gradient, torch.zeros(2, 3))


def test_16_bits():
    value = distil(TAUGHT.half()).given(IMAGES)(LOGITS.half(), TARGET)
    expected = distil(TAUGHT.half().float()).given(IMAGES)(LOGITS.half().float(), TARGET)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)


def test_without_images_it_is_the_loss_of_the_labels():
    loss = build("soft_target_kd", teacher=Path("gone.pth"), alpha=1.0)
    assert loss(LOGITS, TARGET).item() == pytest.approx(HARD)
    with pytest.raises(RuntimeError, match="without its teacher"):
        loss.given(IMAGES)


def test_a_total_gives_images_to_those_that_want_them():
    total = TotalLoss([build("mse"), distil(temperature=2.0), plain])
    expected = build("mse")(LOGITS, TARGET) + plain(LOGITS, TARGET)
    distilled = distil(temperature=2.0).given(IMAGES)(LOGITS, TARGET)
    torch.testing.assert_close(given_images(total, IMAGES)(LOGITS, TARGET), expected + distilled)
    torch.testing.assert_close(total(LOGITS, TARGET), expected + HARD)


def plain(logits, target):
    """Be a loss without being a module."""
    return F.cross_entropy(logits, target) / 2


def test_a_total_is_a_module_of_its_parts():
    total = TotalLoss([plain, build("seesaw"), build("cross_entropy", class_weights="balanced")])
    assert list(total.state_dict()) == ["parts.0.seen"]
    assert {buffer.device.type for buffer in total.to("meta").buffers()} == {"meta"}
    assert not any(part.training for part in total.eval().parts)
    assert reduction_of(total) == "mean"


def test_a_total_of_sums_is_a_sum():
    total = TotalLoss([build("mse", reduction="sum"), build("cross_entropy", reduction="sum", loss_weight=0.5)])
    logits, target = random_batch(classes=3)
    assert reduction_of(total) == "sum"
    expected = len(target) * (build("mse")(logits, target) + 0.5 * build("cross_entropy")(logits, target))
    torch.testing.assert_close(total(logits, target), expected)


def test_sums_and_means_do_not_add_up():
    with pytest.raises(ValueError, match=r"^losses that are added up need one reduction, got sum, mean$"):
        TotalLoss([build("mse", reduction="sum"), nn.CrossEntropyLoss()])
