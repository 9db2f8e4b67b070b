"""Transforms of whole batches do to each image what they do to a single one, by chance of its own."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from clscli.data.transforms.batched import BatchDraws, BatchedTransform
from clscli.data.transforms.crops import RandomCrop
from clscli.data.transforms.erasing import Cutout, RandomErasing
from clscli.data.transforms.flips import AlternatingHorizontalFlip, RandomHorizontalFlip, RandomVerticalFlip
from clscli.seeds import augmenting

CPU = torch.device("cpu")
BATCH = 200

TRANSFORMS = [
    RandomCrop(size=8, padding=2),
    RandomHorizontalFlip(),
    RandomVerticalFlip(),
    AlternatingHorizontalFlip(),
    RandomErasing(),
    RandomErasing(value="random"),
    Cutout(size=4),
]


def draws_for(num_samples=BATCH, first=0, size=None, epoch=0, seed=0):
    own = torch.arange(first, first + (num_samples - first if size is None else size))
    generator = torch.Generator().manual_seed(1)
    return BatchDraws(seed, epoch, own, torch.zeros_like(own), CPU, generator, num_samples, first)


def pictures(count=BATCH, height=9, width=10):
    """Pictures in which every pixel has a value of its own, channels last in memory."""
    one = torch.arange(3 * height * width, dtype=torch.int64).view(3, height, width) % 251
    images = one.to(torch.uint8).repeat(count, 1, 1, 1)
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
def test_a_slice_of_a_batch_is_what_the_whole_batch_has_there(transform):
    assert isinstance(transform, BatchedTransform)
    images = pictures()
    before = images.clone()
    whole = transform.batched(images, draws_for())
    part = transform.batched(images[60:90], draws_for(first=60, size=30))
    assert torch.equal(whole[60:90], part)
    assert torch.equal(images, before), "the pictures are used again in the next epoch"
    assert whole.dtype == torch.uint8
    assert len({bytes(image.contiguous().numpy().tobytes()) for image in whole}) > 1, "each by chance of its own"


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize(("size", "padding"), [(8, 3), ([12, 9], 1), (9, 0)])
def test_a_crop_is_one_of_those_that_torchvision_can_draw(mode, size, padding):
    images = pictures()
    cropped = RandomCrop(size=size, padding=padding, fill=7, padding_mode=mode).batched(images, draws_for())
    height, width = (size, size) if isinstance(size, int) else size
    pad_y, pad_x = (padding + max(0, s - n - 2 * padding) for s, n in ((height, 9), (width, 10)))
    padded = F.pad(images[0], [pad_x, pad_y], fill=7, padding_mode=mode)
    possible = {
        bytes(F.crop(padded, y, x, height, width).contiguous().numpy().tobytes())
        for y in range(padded.shape[1] - height + 1)
        for x in range(padded.shape[2] - width + 1)
    }
    drawn = {bytes(image.contiguous().numpy().tobytes()) for image in cropped}
    assert drawn <= possible
    assert len(drawn) > 0.9 * len(possible), "all places are drawn"


@pytest.mark.parametrize(
    ("transform", "dim"), [(RandomHorizontalFlip(p=0.3), -1), (RandomVerticalFlip(p=0.3), -2)]
)
def test_some_are_mirrored_whole_and_the_others_left(transform, dim):
    images = pictures()
    flipped = transform.batched(images, draws_for())
    is_mirrored = torch.tensor([torch.equal(new, old.flip(dim)) for new, old in zip(flipped, images, strict=True)])
    is_left = torch.tensor([torch.equal(new, old) for new, old in zip(flipped, images, strict=True)])
    assert (is_mirrored ^ is_left).all()
    assert 0.2 < is_mirrored.float().mean() < 0.4


def test_the_flip_alternates_as_it_does_for_single_pictures():
    images, flip = pictures(), AlternatingHorizontalFlip()
    for epoch in (0, 1):
        batch = flip.batched(images, draws_for(epoch=epoch, seed=3))
        for index in range(BATCH):
            with augmenting(3, epoch, index):
                assert torch.equal(batch[index], flip(images[index]))


@pytest.mark.parametrize(
    "transform",
    [
        RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value=255),
        Cutout(size=5, value=255),
    ],
    ids=lambda t: type(t).__name__,
)
def test_what_is_filled_is_one_rectangle_anywhere(transform):
    images = torch.zeros(BATCH, 3, 10, 10, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    filled = transform.batched(images, draws_for())[:, 0] == 255
    rows, columns = filled.any(2).sum(1), filled.any(1).sum(1)
    assert torch.equal(filled.sum((1, 2)), rows * columns), "a rectangle, without gaps"
    if isinstance(transform, RandomErasing):
        assert (rows == 5).all()
        assert (columns == 5).all()
    else:  # the part within the image, of a square around any pixel
        assert set(rows.tolist()) == {3, 4, 5}
    assert filled.any(0).all(), "anywhere"


def test_a_rectangle_that_never_fits_is_left_out():
    images = pictures()
    erase = RandomErasing(p=1.0, scale=(0.9, 1.0), ratio=(0.3, 0.3))
    assert torch.equal(erase.batched(images, draws_for()), images)


def test_noise_differs_from_pixel_to_pixel():
    images = torch.zeros(4, 3, 10, 10, dtype=torch.uint8)
    erase = RandomErasing(p=1.0, scale=(0.49, 0.49), ratio=(1.0, 1.0), value="random")
    filled = erase.batched(images, draws_for(4))
    assert filled.unique().numel() > 100
    assert (filled == 0).sum() >= 4 * 3 * 51, "what is not in the rectangle stays"
