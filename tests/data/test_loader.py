"""From samples to batches: each once, in an order and with an augmentation of its own."""

import multiprocessing
import os
import pickle
import random
import signal
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from clscli.data.catalog import open_training_data
from clscli.data.loader import BatchLoader, auto_workers, collate
from clscli.data.order import BatchOrder, Draw
from clscli.data.pipeline import build_transforms
from clscli.data.reader import Reader
from clscli.data.samplers import Shuffled
from clscli.data.samples import Sample
from clscli.data.split import View
from clscli.data.transforms import crops, policies
from clscli.data.transforms.geometry import RandomResizedCrop, Resize
from clscli.errors import DataError
from clscli.spec import load_spec

NUM_SAMPLES = 23


@dataclass
class Pictures:
    """Pictures in memory, each of one colour: sample i has the value i; `bad` ones are no pictures."""

    num: int = NUM_SAMPLES
    bad: tuple[int, ...] = ()
    sizes: tuple[int, ...] = (8,)

    @property
    def classes(self) -> list[str]:
        return ["even", "odd"]

    @property
    def targets(self) -> list[int]:
        return [i % 2 for i in range(self.num)]

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> Sample:
        if index in self.bad:
            return Sample(b"no picture", index % 2)
        size = self.sizes[index % len(self.sizes)]
        return Sample(Image.new("RGB", (size, size), (index, index, index)), index % 2)


class Noise:
    """Add a random number to all pixels: tells which random numbers a sample met."""

    def __call__(self, image):
        return image + torch.randint(0, 200, (1,), dtype=torch.uint8)


class Contiguous:
    """Leave an image in the order that most transforms of third parties give."""

    def __call__(self, image):
        return image.contiguous()


def view_of(pictures: Pictures) -> View:
    return View(pictures, range(len(pictures)), pictures.classes)


def shuffled(num_samples: int = NUM_SAMPLES) -> Shuffled:
    return Shuffled(torch.zeros(num_samples))


def open_loader(pictures: Pictures | None = None, transforms=(), **options) -> BatchLoader:
    pictures = Pictures() if pictures is None else pictures
    settings = {"batch_size": 5, "seed": 0, "sampler": shuffled(len(pictures)), "num_workers": 0} | options
    return BatchLoader(view_of(pictures), list(transforms), **settings)


def read(loader: BatchLoader, epoch: int, start: int = 0) -> list[tuple]:
    """Read an epoch as plain values."""
    batches = [
        (b.indices.tolist(), b.targets.tolist(), b.images.tolist(), b.unreadable)
        for b in loader.epoch(epoch, start)
    ]
    return batches


def indices(loader: BatchLoader, epoch: int) -> list[int]:
    return [i for batch in loader.epoch(epoch) for i in batch.indices.tolist()]


@pytest.mark.parametrize("sampler", [None, shuffled()])
def test_an_epoch_has_every_sample_once_with_its_own_pixels_and_target(sampler):
    batches = list(open_loader(sampler=sampler).epoch(3))
    found = torch.cat([b.indices for b in batches])
    assert sorted(found.tolist()) == list(range(NUM_SAMPLES))
    for batch in batches:
        assert (batch.images.dtype, batch.targets.dtype, batch.indices.dtype) == (
            torch.uint8,
            torch.int64,
            torch.int64,
        )
        assert batch.images.shape == (len(batch.indices), 3, 8, 8)
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
        assert torch.equal(batch.targets, batch.indices % 2)
        assert batch.unreadable == []


def test_without_shuffling_the_order_is_that_of_the_view():
    assert (
        indices(open_loader(sampler=None), 0) == indices(open_loader(sampler=None), 1) == list(range(NUM_SAMPLES))
    )


def test_the_order_is_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): tuple(indices(open_loader(seed=seed), epoch)) for seed in (0, 1) for epoch in (0, 1, 2)
    }
    assert len(set(orders.values())) == 6
    one = open_loader(seed=1)
    assert [tuple(indices(one, epoch)) for epoch in (2, 0, 1)] == [orders[1, epoch] for epoch in (2, 0, 1)]


def test_the_order_does_not_depend_on_or_disturb_the_global_generator():
    torch.manual_seed(1)
    first = indices(open_loader(), 0)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    order = list(BatchOrder(NUM_SAMPLES, 5, 0, shuffled()))
    assert torch.equal(torch.get_rng_state(), state)
    assert [draw.index for batch in order for draw in batch] == first


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 22, 23, 24, 100])
@pytest.mark.parametrize("num_samples", [1, 2, 23])
def test_training_batches_are_nearly_equal_and_none_is_dropped(num_samples, batch_size):
    order = BatchOrder(num_samples, batch_size, seed=0, sampler=shuffled(num_samples))
    sizes = [len(batch) for batch in order]
    assert sum(sizes) == num_samples
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == len(order) == -(-num_samples // batch_size)


def test_evaluation_batches_are_full_but_the_last():
    assert [len(batch) for batch in BatchOrder(23, 5, seed=0)] == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("sampler", [None, shuffled(0)])
def test_no_samples_make_one_empty_batch(sampler):
    (batch,) = open_loader(Pictures(num=0), sampler=sampler).epoch(0)
    assert len(batch.images) == len(batch.targets) == len(batch.indices) == 0
    assert batch.unreadable == []


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(num_workers):
    """Neither order nor pixels nor random numbers, in the first epoch as in later ones."""
    transforms = [Noise(), RandomResizedCrop(size=6), policies.trivial_augment_wide()]
    alone = open_loader(transforms=transforms)
    expected = [read(alone, epoch) for epoch in (0, 1)]
    loader = open_loader(transforms=transforms, num_workers=num_workers)
    try:
        assert [read(loader, epoch) for epoch in (0, 1)] == expected
    finally:
        loader.close()
    assert expected[0] != expected[1]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_resumed_epoch_has_exactly_the_batches_that_are_left(start, num_workers):
    full = read(open_loader(transforms=[Noise()]), 4)
    loader = open_loader(transforms=[Noise()], num_workers=num_workers)
    try:
        assert read(loader, 4, start) == full[start:]
        assert read(loader, 4) == full  # and the next epoch is whole again
    finally:
        loader.close()


def test_an_epoch_that_is_left_early_does_not_disturb_the_next():
    loader = open_loader(transforms=[Noise()], num_workers=2)
    try:
        next(iter(loader.epoch(0)))
        assert read(loader, 1) == read(open_loader(transforms=[Noise()]), 1)
    finally:
        loader.close()


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    def reader(seed: int) -> Reader:
        return Reader(view_of(Pictures()), [Noise()], seed)

    def value(seed: int, epoch: int, index: int) -> int:
        return int(reader(seed)[Draw(epoch, index)].image[0, 0, 0]) - index

    base = value(0, 0, 7)
    assert value(0, 0, 7) == base
    for others in (
        {value(seed, 0, 7) for seed in range(1, 6)},
        {value(0, epoch, 7) for epoch in range(1, 6)},
        {value(0, 0, index) for index in range(8, 13)},
    ):
        assert len(others) > 1


def test_reading_does_not_disturb_the_global_generator():
    state = torch.get_rng_state()
    read(open_loader(transforms=[Noise()]), 0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_pictures_are_reported_and_not_replaced(num_workers):
    loader = open_loader(Pictures(bad=(3, 11)), num_workers=num_workers)
    batches = list(loader.epoch(0))
    loader.close()
    reasons = {index: reason for batch in batches for index, reason in batch.unreadable}
    assert reasons == dict.fromkeys((3, 11), "not a picture, or of a format that cannot be read")
    found = torch.cat([batch.indices for batch in batches])
    assert sorted(found.tolist()) == [i for i in range(NUM_SAMPLES) if i not in (3, 11)]
    assert all(len(b.images) == len(b.targets) == len(b.indices) for b in batches)


def test_a_batch_of_nothing_but_unreadable_pictures_is_empty():
    (batch,) = open_loader(Pictures(num=3, bad=(0, 1, 2)), sampler=None).epoch(0)
    assert len(batch.images) == len(batch.targets) == 0
    assert [index for index, _ in batch.unreadable] == [0, 1, 2]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_pictures_of_different_sizes_are_an_error_that_says_what_to_do(num_workers):
    loader = open_loader(Pictures(sizes=(8, 10)), num_workers=num_workers)
    with pytest.raises(DataError) as error:
        list(loader.epoch(0))
    loader.close()
    assert str(error.value) == (
        "images of one batch differ in size: (3, 8, 8) and (3, 10, 10) "
        "-- let the transforms end with a fixed size, such as resize and center_crop"
    )


def test_pictures_of_different_sizes_are_fine_once_resized():
    loader = open_loader(Pictures(sizes=(8, 10)), [Resize(size=[4, 6])])
    assert all(batch.images.shape[1:] == (3, 4, 6) for batch in loader.epoch(0))


def test_collating_keeps_order_and_pixels():
    reader = Reader(view_of(Pictures()), [], 0)
    batch = collate([reader[Draw(0, index)] for index in (9, 2, 4)])
    assert batch.indices.tolist() == [9, 2, 4]
    assert batch.targets.tolist() == [1, 0, 0]
    assert batch.images[:, 1, 3, 5].tolist() == [9, 2, 4]


def test_the_length_is_the_number_of_batches():
    assert len(open_loader(batch_size=5)) == 5
    assert len(Reader(view_of(Pictures()), [], 0)) == NUM_SAMPLES


def test_what_workers_are_given_survives_pickling():
    reader = Reader(view_of(Pictures()), [Noise(), crops.RandomCrop(size=4)], 3)
    copy, draw = pickle.loads(pickle.dumps((reader, Draw(2, 5))))
    assert draw == Draw(2, 5)
    assert torch.equal(copy[draw].image, reader[draw].image)


def test_processes_that_inherit_nothing_read_the_same(pictures):
    """As on macOS and Windows, where workers are no copies of the trainer: a folder, the default transforms."""
    spec = load_spec({"data": {"root": str(pictures)}})
    view, transforms = open_training_data(spec).train, build_transforms(spec, "train")
    expected = list(BatchLoader(view, transforms, batch_size=12, seed=0, num_workers=0).epoch(0))
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        loader = BatchLoader(view, transforms, batch_size=12, seed=0, num_workers=1, image_shape=(3, 224, 224))
        spawned = list(loader.epoch(0))
        loader.close()
    finally:
        multiprocessing.set_start_method(before, force=True)
    for batch, same in zip(spawned, expected, strict=True):
        assert batch.images.shape[1:] == (3, 224, 224)
        assert torch.equal(batch.images, same.images)
        assert torch.equal(batch.indices, same.indices)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("last", [RandomResizedCrop(size=6), Contiguous()])
def test_batches_are_channels_last_in_memory_whatever_the_transforms_leave(num_workers, last):
    loader = open_loader(transforms=[last], num_workers=num_workers)
    batches = list(loader.epoch(0))
    loader.close()
    assert len(batches) == 5
    for batch in batches:
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.images.is_shared() == (num_workers > 0)
        assert torch.equal(batch.images[:, 0, 3, 5].long(), batch.indices)


def test_samples_read_together_are_those_read_alone_and_disturb_no_generator():
    reader = Reader(view_of(Pictures()), [Noise(), RandomResizedCrop(size=6), policies.trivial_augment_wide()], 3)
    draws = [Draw(2, 5), Draw(2, 1), Draw(1, 5), Draw(2, 5, repeat=1), Draw(2, 5)]
    alone = [reader[draw].image for draw in draws]
    states = torch.get_rng_state(), random.getstate()
    together = [item.image for item in reader.__getitems__(draws)]
    assert all(torch.equal(*images) for images in zip(together, alone, strict=True))
    assert torch.equal(together[0], together[4])
    assert len({image.numpy().tobytes() for image in together}) == 4
    assert (torch.get_rng_state().tolist(), random.getstate()) == (states[0].tolist(), states[1])


@dataclass
class Signals(Pictures):
    """Sends Ctrl-C to whoever reads, and tells how it would take SIGTERM and how many threads it has."""

    def __getitem__(self, index: int) -> Sample:
        os.kill(os.getpid(), signal.SIGINT)
        polite = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        colour = (index, int(polite), torch.get_num_threads())
        return Sample(Image.new("RGB", (8, 8), colour), index % 2)


def test_workers_ignore_ctrl_c_and_leave_everything_else_to_the_trainer():
    loader = open_loader(Signals(), num_workers=1)
    previous = signal.signal(signal.SIGTERM, lambda *_: None)  # as the trainer has one of its own
    try:
        batches = list(loader.epoch(0))
    finally:
        signal.signal(signal.SIGTERM, previous)
        loader.close()
    assert sum(len(batch.indices) for batch in batches) == NUM_SAMPLES
    assert all((batch.images[:, 1:] == 1).all() for batch in batches)


def test_closing_ends_the_workers_and_may_be_done_twice():
    loader = open_loader(num_workers=2)
    list(loader.epoch(0))
    assert len(multiprocessing.active_children()) == 2
    loader.close()
    assert multiprocessing.active_children() == []
    loader.close()
    open_loader(num_workers=0).close()


def test_there_are_never_more_workers_than_batches():
    loader = open_loader(batch_size=NUM_SAMPLES, num_workers=8)
    list(loader.epoch(0))
    assert len(multiprocessing.active_children()) == 1
    loader.close()


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (3, 3), (64, 8)])
def test_auto_workers_are_the_cores_that_may_be_used_but_at_most_8(monkeypatch, cores, workers):
    monkeypatch.setattr("clscli.data.loader.available_cores", lambda: cores)
    assert auto_workers() == workers
