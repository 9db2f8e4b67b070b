"""`data.cache = "memory"` and "disk": the same numbers in every epoch and after every stop, and room for all."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import draw_picture
from PIL import Image

from clscli import train
from clscli.cache import cache_directory
from clscli.data.pixel_cache import PixelCache
from clscli.data.samples import Sample
from clscli.data.split import View
from clscli.engine import pixel_caches
from clscli.engine.distributed import ALONE
from clscli.engine.pixel_caches import open_caches
from clscli.engine.prepare import prepare
from clscli.errors import Interrupted, SpecError
from clscli.observer import Observer
from clscli.spec import load_spec

RESIZE = {"type": "resize", "size": 24}
CROP = {"type": "random_crop", "size": 20}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def decoded(monkeypatch):
    """The indices of the pictures that caches of this process have read."""
    indices = []
    inner = PixelCache._read
    monkeypatch.setattr(PixelCache, "_read", lambda self, index: indices.append(index) or inner(self, index))
    return indices


@pytest.fixture
def cached(tiny):
    """A spec of 24 + 12 pictures, whose pipeline for training begins with what is done once."""
    tiny["transforms"] = {"train": [RESIZE, CROP], "eval": [RESIZE]}
    tiny["train"]["epochs"] = 2
    return lambda cache, **data: tiny | {"data": tiny["data"] | {"cache": cache} | data}


def metrics(run) -> list[dict]:
    timed = ("seconds", "images_per_second", "data_wait")
    rows = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def pixel_files() -> list[Path]:
    return sorted((cache_directory() / "pixels").iterdir())


def test_what_is_done_once_gives_the_numbers_of_a_run_without_a_cache(cached, decoded):
    train(cached("none"), out="none", device="cpu")
    for cache in ("memory", "disk"):
        train(cached(cache, num_workers=1), out=cache, device="cpu")
        assert metrics(cache) == metrics("none")
    train(cached("disk"), out="again", device="cpu")
    assert metrics("again") == metrics("none")
    assert len(pixel_files()) == 2
    assert decoded == []  # here; the runs before have done so in their workers


def test_every_picture_is_decoded_once_and_again_when_it_has_changed(cached, decoded, pictures, tmp_path):
    root = shutil.copytree(pictures, tmp_path / "photos")
    train(cached("disk", root=str(root)), out="first", device="cpu")
    assert sorted(decoded) == sorted([*range(24), *range(12)])
    train(cached("disk", root=str(root)), out="second", device="cpu")
    assert len(decoded) == 36
    draw_picture(root / "train/disc/000.png", "disc", 99)
    train(cached("disk", root=str(root)), out="third", device="cpu")
    assert len(decoded) == 36 + 24
    assert len(pixel_files()) == 3


class _StopInEpoch2(Observer):
    def begin(self, what, total, unit="images"):
        self.is_second = what.startswith("epoch 2")

    def tick(self, amount):
        if self.is_second and amount:
            raise Interrupted("the test")


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_run_that_is_resumed_gives_the_same_numbers(cached, clscli, cache):
    spec = cached(cache) | {
        "transforms": {"train": [{"type": "random_resized_crop", "size": 12}], "eval": [RESIZE]}
    }
    train(spec, out="whole", device="cpu")
    with pytest.raises(Interrupted):
        train(spec, out="run", device="cpu", observer=_StopInEpoch2())
    done = clscli("train", "--resume", "run", "--device", "cpu")
    assert done.code == 0, done.err
    assert metrics("run") == metrics("whole")


def test_what_does_not_fit_into_memory_is_refused_with_the_figures(cached, monkeypatch):
    monkeypatch.setattr(pixel_caches, "available_memory", lambda: 50_000)
    with pytest.raises(SpecError) as caught:
        train(cached("memory"), out="run", device="cpu")
    assert str(caught.value) == (
        'spec: data.cache: "memory" takes 0.1 MB for 24 + 12 pictures, and of 0.1 MB of free memory it may take '
        '0.0 MB -- write "disk" or "none", or let transforms.train begin with a resize to fewer pixels'
    )
    assert not Path("run").exists()


def test_what_does_not_fit_on_the_disk_is_refused_with_the_figures(cached, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=50_000))
    with pytest.raises(SpecError) as caught:
        train(cached("disk"), out="run", device="cpu")
    assert str(caught.value) == (
        'spec: data.cache: "disk" takes 0.1 MB for 24 + 12 pictures, and 0.1 MB are free in '
        f'{cache_directory() / "pixels"} -- write "memory" or "none", or let transforms.train begin with a '
        "resize to fewer pixels"
    )
    assert pixel_files() == []


class InMemory:
    """Four pictures that are no files: as pixels, or of a size that nobody knows before they are read."""

    classes = ("disc", "square")
    targets = (0, 1, 0, 1)

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return Sample(self.source, index % 2)


def open_in_memory(spec, source):
    plan = prepare(load_spec(spec))
    view = View(InMemory(source), range(4), ["disc", "square"])
    data = dataclasses.replace(plan.data, train=view, val=view)
    return open_caches(dataclasses.replace(plan, data=data), ALONE)


def test_pictures_that_are_no_files_are_kept_in_memory_alone(cached):
    pixels = torch.full((3, 30, 24), 7, dtype=torch.uint8)
    cache = open_in_memory(cached("memory"), pixels)["val"]
    assert torch.equal(cache.pixels(3), pixels)
    with pytest.raises(SpecError) as caught:
        open_in_memory(cached("disk"), pixels)
    assert str(caught.value) == (
        'spec: data.cache: "disk" keeps pictures that are files, and these are not -- write "memory" or "none"'
    )


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_pictures_whose_size_nobody_knows_are_refused(cached, cache):
    with pytest.raises(SpecError) as caught:
        open_in_memory(cached(cache), Image.new("RGB", (30, 24)))
    assert str(caught.value) == (
        f'spec: data.cache: "{cache}" has to know how large the pictures are before they are read, and of these '
        'nobody does -- write "none", or unpack them into files'
    )
