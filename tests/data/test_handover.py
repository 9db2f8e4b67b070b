"""Batches that workers leave in shared memory, which is used again and again."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from clscli.data.loader import BatchLoader
from clscli.data.samples import Sample
from clscli.data.split import View

NUM_SAMPLES = 40


@dataclass
class Numbered:
    """Pictures whose pixels are their number; those that `odd` names have another size, one cannot be read."""

    odd: tuple[int, ...] = ()
    bad: int = -1
    classes = ("a", "b")

    @property
    def targets(self) -> list[int]:
        return [index % 2 for index in range(NUM_SAMPLES)]

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> Sample:
        if index == self.bad:
            return Sample(b"no picture", index % 2)
        size = (10, 6) if index in self.odd else (8, 6)
        return Sample(Image.new("RGB", size, (index, index, 1)), index % 2)


def open_loader(dataset=None, *, num_workers=2, image_shape=(3, 6, 8), **options) -> BatchLoader:
    view = View(dataset or Numbered(), range(NUM_SAMPLES), ["a", "b"])
    settings = {"batch_size": 3, "seed": 0, "num_workers": num_workers, "image_shape": image_shape} | options
    return BatchLoader(view, [], **settings)


def values(batches):
    return [(b.indices.tolist(), b.targets.tolist(), b.images.tolist(), b.unreadable) for b in batches]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_all_batches_of_some_epochs_held_at_once_are_those_of_one_process(num_workers):
    alone, loader = open_loader(num_workers=0), open_loader(num_workers=num_workers)
    held = [batch for epoch in range(3) for batch in loader.epoch(epoch)]
    loader.close()
    assert values(held) == values(batch for epoch in range(3) for batch in alone.epoch(epoch))
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in held)
    assert not any(batch.images.is_shared() for batch in held)  # they were copied out of what workers write into


def test_an_epoch_that_is_left_early_does_not_spoil_the_next():
    loader = open_loader()
    for stop in (0, 1, 5):
        for number, _ in enumerate(loader.epoch(0)):
            if number == stop:
                break
        assert values(loader.epoch(1)) == values(open_loader(num_workers=0).epoch(1))
    loader.close()


@pytest.mark.parametrize(
    ("dataset", "image_shape"),
    [
        (Numbered(bad=7), (3, 6, 8)),
        (Numbered(odd=tuple(range(NUM_SAMPLES))), (3, 6, 8)),  # larger than any place
        (Numbered(), (3, 60, 80)),
        (Numbered(odd=(0, 1, 2, 12, 13, 14)), (3, 6, 8)),  # two whole batches
    ],
)
def test_what_does_not_fit_goes_another_way(dataset, image_shape):
    loader = open_loader(dataset, image_shape=image_shape)
    found = values(loader.epoch(0))
    loader.close()
    assert found == values(open_loader(dataset, num_workers=0).epoch(0))


def test_without_room_for_it_dataloader_hands_over(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    loader = open_loader()
    batches = list(loader.epoch(0))
    loader.close()
    assert all(batch.images.is_shared() for batch in batches)
    assert values(batches) == values(open_loader(num_workers=0).epoch(0))


def test_a_share_of_a_batch_for_each_of_several_processes():
    shares = []
    for rank in range(2):
        loader = open_loader(batch_size=5, rank=rank, processes=2)
        shares.append(values(loader.epoch(0)))
        loader.close()
    expected = [values(open_loader(num_workers=0, batch_size=5, rank=r, processes=2).epoch(0)) for r in range(2)]
    assert shares == expected
