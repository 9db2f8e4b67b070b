"""Shrunken pictures on pictures, and their targets."""

import re

import pytest
import torch
from torch.nn import functional as F

from clscli.data.batch_transforms import build_batch_transforms
from clscli.data.transforms.mix import Resizemix
from clscli.seeds import seeded
from clscli.spec import load_spec

TARGETS = torch.tensor([0, 1, 2])


def levels(*values: float) -> torch.Tensor:
    """Make a batch of plain pictures of 20 x 30, one level each."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 20, 30).clone()


def test_every_picture_gets_the_one_before_as_a_patch_and_a_share_of_its_target():
    images = levels(10.0, 20.0, 30.0)
    mixed, targets = Resizemix(4, scale=(0.5, 0.5))(images, TARGETS)
    assert torch.equal(images, levels(10.0, 20.0, 30.0)), "it wrote into its input"
    for image, own, other in zip(mixed, (10, 20, 30), (30, 10, 20), strict=True):
        patch = image[0].round() == other
        assert image[0].round().unique().tolist() == sorted([own, other])
        assert patch.sum() == 10 * 15
        assert patch.any(1).sum() == 10
        assert patch.any(0).sum() == 15
    assert targets.tolist() == [[0.75, 0, 0.25, 0], [0.25, 0.75, 0, 0], [0, 0.25, 0.75, 0]]


def test_the_patch_is_the_whole_other_picture_with_antialiasing():
    images = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0)) * 255
    with seeded(0):
        mixed, _ = Resizemix(3, scale=(0.4, 0.4))(images, TARGETS[:2])
    small = F.interpolate(images[:1], (8, 12), mode="bilinear", antialias=True)[0]
    changed = (mixed[1] != images[1]).any(0).nonzero()
    (top, left), (bottom, right) = changed.min(0).values, changed.max(0).values + 1
    assert torch.equal(mixed[1, :, top:bottom, left:right], small)


def test_sides_are_drawn_alike_between_the_bounds_and_places_anywhere():
    mix = Resizemix(3)
    with seeded(0):
        batches = [mix(levels(0.0, 1.0), TARGETS[:2]) for _ in range(300)]
    sides = torch.tensor([(images[0, 0] > 0.5).any(0).sum() / 30 for images, _ in batches])
    assert sides.min() >= 0.1
    assert sides.max() <= 0.8
    assert abs(sides.mean() - 0.44) < 0.03  # 0.45, and half a pixel is cut
    assert {bool(images[0, 0, 0, 0] > 0.5) for images, _ in batches} == {False, True}
    assert {bool(images[0, 0, -1, -1] > 0.5) for images, _ in batches} == {False, True}
    for images, targets in batches:
        assert torch.isclose(targets[0, 1], (images[0, 0] > 0.5).float().mean(), atol=1e-6)


def test_bounds_that_are_none_are_refused_in_words():
    message = "scale must be two numbers at least 0 and at most 1, the smaller first, got [0.5, 1.5]"
    with pytest.raises(ValueError, match=re.escape(message)):
        Resizemix(3, scale=(0.5, 1.5))


def test_it_is_a_component_that_takes_turns_with_others():
    tables = [{"type": "resizemix", "p": 0.5}, {"type": "mixup", "p": 0.5}]
    transforms = build_batch_transforms(load_spec({"data": {"root": "x"}, "transforms": {"batch": tables}}), 4)
    with seeded(0):
        images, targets = transforms(levels(1.0, 2.0, 3.0), TARGETS)
    assert images.shape == (3, 3, 20, 30)
    assert torch.allclose(targets.sum(1), torch.ones(3))
