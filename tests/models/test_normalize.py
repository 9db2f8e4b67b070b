"""Normalisation: the same numbers in every memory layout, and nothing of the input is changed."""

import pytest
import torch

from clscli.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Normalize

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 1, 1), (2, 3, 1, 4), (2, 3, 4, 1), (0, 3, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_less_the_mean_by_the_deviation(layout, shape, dtype):
    images = torch.randint(0, 256, shape).to(dtype).to(memory_format=layout)
    before = images.clone()
    mean, std = (torch.tensor(values).view(-1, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalized = Normalize(IMAGENET_MEAN, IMAGENET_STD)(images)
    assert torch.equal(normalized, (before.float() - mean) / std)
    assert torch.equal(images, before)
    assert normalized.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_channel_has_one_mean(layout):
    images = torch.tensor([[[[0, 128], [255, 64]]]], dtype=torch.uint8).to(memory_format=layout)
    assert Normalize([0.5], [0.5])(images).tolist() == [
        [[[-1.0, pytest.approx(1 / 255, rel=1e-5)], [1.0, pytest.approx(-127 / 255, rel=1e-5)]]]
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_reaches_the_pixels(layout):
    images = torch.zeros(1, 3, 2, 2).to(memory_format=layout).requires_grad_()
    Normalize([0.0] * 3, [0.5] * 3)(images).sum().backward()
    assert torch.equal(images.grad, torch.full((1, 3, 2, 2), 2 / 255))
