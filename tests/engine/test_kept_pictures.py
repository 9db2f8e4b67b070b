"""`data.cache = "memory"` and "disk": the same numbers in every epoch and after every stop, and room for all."""

import dataclasses
import json
import logging
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import draw_picture
from PIL import Image

from clscli import train
from clscli.cache import cache_directory
from clscli.data import cache_files
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


def days_ago(file: Path, days: float) -> None:
    then = time.time() - days * 24 * 60 * 60
    os.utime(file, (then, then))


def test_files_that_no_run_has_used_for_long_make_room_for_new_ones(cached, caplog):
    caplog.set_level(logging.INFO, "clscli")
    train(cached("disk"), out="first", device="cpu")
    folder = cache_directory() / "pixels"
    old, recent, foreign = folder / "old.pixels", folder / "recent.pixels", folder / "notes.txt"
    unfinished = folder / ".new.pixels.abc.tmp"
    for file in (old, recent, foreign, unfinished):
        file.write_bytes(bytes(1_000_000))
        days_ago(file, 29 if file == recent else 31)
    for file in (first := [f for f in pixel_files() if len(f.stem) == 32]):
        days_ago(file, 31)
    train(cached("disk"), out="second", device="cpu")
    assert old.exists()  # nothing was made, so nothing had to go
    assert all(time.time() - file.stat().st_mtime < 3600 for file in first)  # but what is used is as new
    spec = cached("disk")
    train(spec | {"transforms": spec["transforms"] | {"eval": []}}, out="third", device="cpu")
    assert len(pixel_files()) == 5
    assert {recent, foreign, *first} < set(pixel_files())
    lines = [line for line in caplog.messages if "removed" in line]
    assert lines == ["cache: 2 files of 2.0 MB removed, which no run has used for 30 days"]


def test_a_run_does_not_remove_what_it_uses_itself(cached, caplog):
    caplog.set_level(logging.INFO, "clscli")
    train(cached("disk"), out="first", device="cpu")
    for file in (first := pixel_files()):
        days_ago(file, 31)
    spec = cached("disk")
    train(spec | {"transforms": spec["transforms"] | {"eval": []}}, out="second", device="cpu")
    kept = [file for file in first if file.exists()]
    assert len(kept) == 1  # that of the training pictures; the other one is used no more
    assert "cache: 1 file of 0.0 MB removed, which no run has used for 30 days" in caplog.messages


@pytest.mark.skipif(not cache_files.MEMORY_HAS_FILES, reason="elsewhere a file that is open stays")
def test_a_file_that_is_removed_while_it_is_open_still_gives_its_pixels(cached):
    plan = prepare(load_spec(cached("disk")))
    cache = open_caches(plan, ALONE)["val"]
    before = cache.pixels(3).clone()
    days_ago(cache.file, 31)
    size = cache.file.stat().st_size
    assert cache_files.remove_unused() == [size]
    assert not cache.file.exists()
    assert torch.equal(cache.pixels(3), before)
    assert cache.pixels(4).shape == before.shape


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
