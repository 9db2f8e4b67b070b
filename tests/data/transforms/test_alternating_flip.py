"""Flips that take turns: which picture is mirrored is a function of the run, the picture and the epoch."""

import pytest
import torch

from clscli.data.loader import BatchLoader
from clscli.data.samples import Sample
from clscli.data.split import View
from clscli.data.transforms.flips import AlternatingHorizontalFlip
from clscli.seeds import CurrentDraw, augmenting, current_draw

ROW = torch.arange(6, dtype=torch.uint8).expand(3, 1, 6)


def mirrored(seed: int, epoch: int, num_pictures: int = 200) -> list[bool]:
    flip, results = AlternatingHorizontalFlip(), []
    for index in range(num_pictures):
        with augmenting(seed, epoch, index):
            result = flip(ROW)
        assert torch.equal(result, ROW) or torch.equal(result, ROW.flip(-1))
        results.append(torch.equal(result, ROW.flip(-1)))
    return results


def test_every_picture_is_seen_both_ways_in_any_two_epochs_in_a_row():
    epochs = [mirrored(0, epoch) for epoch in range(4)]
    assert epochs[0] == epochs[2] == [not flipped for flipped in epochs[1]]
    assert epochs[1] == epochs[3]


def test_repeats_within_an_epoch_alternate_too():
    flip, repeats = AlternatingHorizontalFlip(), []
    for repeat in range(3):
        with augmenting(0, 0, 9, repeat):
            repeats.append(torch.equal(flip(ROW), ROW.flip(-1)))
    assert repeats[0] == repeats[2] != repeats[1]


def test_the_halves_are_drawn_for_each_run():
    first, second = mirrored(0, 0), mirrored(1, 0)
    assert 75 < sum(first) < 125
    assert 75 < sum(second) < 125
    assert 75 < sum(a != b for a, b in zip(first, second, strict=True)) < 125


def test_a_transform_knows_the_draw_only_while_it_lasts():
    with augmenting(3, 1, 4):
        assert current_draw() == CurrentDraw(seed=3, epoch=1, index=4)
        with augmenting(3, 2, 5):
            assert current_draw() == CurrentDraw(seed=3, epoch=2, index=5)
        assert current_draw() == CurrentDraw(seed=3, epoch=1, index=4)
    assert current_draw() == CurrentDraw(seed=0, epoch=0, index=0)


class Rows:
    """Forty times the same row of pixels, as encoded pictures; the target tells them apart."""

    classes = tuple(map(str, range(40)))

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Sample:
        return Sample(ROW.clone(), index)


def epoch_of(loader: BatchLoader, epoch: int) -> dict[int, bool]:
    """Read an epoch: for each picture, whether it was mirrored."""
    found = {}
    for batch in loader.epoch(epoch):
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            found[index] = torch.equal(image, ROW.flip(-1))
    return found


@pytest.mark.parametrize("num_workers", [0, 1])
def test_in_a_loader_too(num_workers):
    view = View(Rows(), range(40), list(Rows.classes))
    flip = AlternatingHorizontalFlip()
    loader = BatchLoader(view, [flip], batch_size=7, seed=5, sampler=None, num_workers=num_workers)
    assert epoch_of(loader, 0) == dict(enumerate(mirrored(5, 0, 40)))
    assert epoch_of(loader, 3) == dict(enumerate(mirrored(5, 3, 40)))
    loader.close()
