"""Pictures that are decoded once, into one file that all processes share."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import draw_picture

from clscli.data import cache_files, pixel_cache
from clscli.data.cache_files import file_in_memory, file_on_disk
from clscli.data.decode import UnreadableImageError, decode
from clscli.data.headers import read_headers
from clscli.data.loader import BatchLoader
from clscli.data.pixel_cache import PixelCache, Slots
from clscli.data.prefix import divide, sizes_after
from clscli.data.read import read
from clscli.data.samplers import Shuffled
from clscli.data.samples import Sample
from clscli.data.split import View
from clscli.data.transforms.geometry import CenterCrop, RandomResizedCrop, Resize
from clscli.errors import WriteError

SIDES = (20, 31, 26, 20, 45)
EVAL = [Resize(size=24), CenterCrop(size=22)]
TRAIN = [RandomResizedCrop(size=12, scale=(0.1, 1.0))]


class Files:
    """Five pictures of several sizes."""

    classes = ("even", "odd")
    targets = (0, 1, 0, 1, 0)

    def __len__(self):
        return len(SIDES)

    def __getitem__(self, index):
        return Sample(Path(f"{index}.png"), index % 2)


@pytest.fixture
def view():
    for index, side in enumerate(SIDES):
        draw_picture(Path(f"{index}.png"), "disc", index, side)
    return View(Files(), range(len(SIDES)), ["even", "odd"])


@pytest.fixture
def decoded(monkeypatch):
    """The indices of the pictures that caches have read."""
    indices = []
    inner = PixelCache._read

    def note(self, index):
        indices.append(index)
        return inner(self, index)

    monkeypatch.setattr(PixelCache, "_read", note)
    return indices


def open_cache(view, transforms, file=None, **options):
    once, rest = divide(transforms)
    slots = Slots(sizes_after(once, read_headers(view).sizes))
    if file is None:
        file, release = file_in_memory(slots.num_bytes)
        options["release"] = release
    elif not file.exists():
        cache_files.reserve(file, slots.num_bytes)
    return PixelCache(file, slots, view, once, rest, scaled_decode=True, **options)


def all_of(cache):
    return [cache.finish(cache.pixels(index)).clone() for index in range(len(SIDES))]


def expected(view, transforms):
    return [read(view[index].source, transforms, scaled_decode=True) for index in range(len(view))]


def test_pictures_are_what_they_are_without_a_cache_and_are_decoded_once(view, decoded):
    cache = open_cache(view, EVAL)
    for _ in range(2):
        assert all(map(torch.equal, all_of(cache), expected(view, EVAL)))
    assert decoded == [0, 1, 2, 3, 4]
    assert cache.pixels(1).stride() == (1, 3 * 22, 3)


def test_without_anything_to_do_once_whole_pictures_are_kept(view):
    cache = open_cache(view, [])
    assert all(map(torch.equal, all_of(cache), [decode(view[i].source) for i in range(5)]))
    assert Slots(read_headers(view).sizes).num_bytes == 5 * 8 + 3 * sum(side * side for side in SIDES)


def test_another_process_and_the_next_run_find_what_is_there(view, decoded):
    cache = open_cache(view, EVAL, Path("cache"))
    cache.pixels(0), cache.pixels(3)
    copy = pickle.loads(pickle.dumps(cache))
    copy.pixels(0), copy.pixels(1)
    assert decoded == [0, 3, 1]
    cache.pixels(1)
    copy.close()
    cache.close()
    assert all(map(torch.equal, all_of(open_cache(view, EVAL, Path("cache"))), expected(view, EVAL)))
    assert decoded == [0, 3, 1, 2, 4]


def test_a_writer_that_is_stopped_leaves_no_half_picture(view, decoded, monkeypatch):
    cache = open_cache(view, EVAL, Path("cache"))
    with monkeypatch.context() as patch:
        patch.setattr(pixel_cache, "_mark_of", lambda pixels: 1 / 0)  # the pixels are there, the mark is not yet
        with pytest.raises(ZeroDivisionError):
            cache.pixels(2)
    cache.close()
    assert torch.equal(open_cache(view, EVAL, Path("cache")).pixels(2), expected(view, EVAL)[2])
    assert decoded == [2, 2]


def test_pixels_that_were_lost_on_the_disk_are_read_again(view, decoded):
    cache = open_cache(view, EVAL, Path("cache"))
    all_of(cache)
    cache.close()
    content = bytearray(Path("cache").read_bytes())
    content[5 * 8 + 3 * 22 * 22 + 100] ^= 1  # of the second picture
    Path("cache").write_bytes(content)
    assert all(map(torch.equal, all_of(open_cache(view, EVAL, Path("cache"))), expected(view, EVAL)))
    assert decoded == [0, 1, 2, 3, 4, 1]


def blacken(image):
    """A transform that writes into what it gets; and draws, so that it is not done once."""
    return image.mul_(torch.randint(0, 2, (), dtype=torch.uint8))


@pytest.mark.parametrize(
    "pipeline", [[blacken], [RandomResizedCrop(size=20, scale=(1, 1), ratio=(1, 1)), blacken]]
)
def test_a_transform_cannot_write_into_the_cache(view, pipeline):
    cache = open_cache(view, pipeline)
    before = cache.pixels(0).clone()
    assert before.shape == (3, 20, 20)
    torch.manual_seed(0)
    assert {int(cache.finish(cache.pixels(0)).max()) for _ in range(20)} == {0, int(before.max())}
    assert torch.equal(cache.pixels(0), before)


def test_a_picture_that_has_changed_since_is_named_as_such(view):
    cache = open_cache(view, [])
    draw_picture(Path("3.png"), "disc", 3, 33)
    with pytest.raises(UnreadableImageError) as caught:
        cache.pixels(3)
    assert str(caught.value) == "has changed since the run began: it gives 33 x 33 pixels instead of 20 x 20"


def test_a_picture_of_unknown_size_is_read_anew_each_time(view, decoded):
    Path("1.png").write_bytes(b"no picture")
    cache = open_cache(view, EVAL)
    for _ in range(2):
        with pytest.raises(UnreadableImageError, match="not a picture, or of a format that cannot be read"):
            cache.pixels(1)
    assert decoded == [1, 1]


def batches(view, num_workers, epochs, cache):
    order = Shuffled(torch.zeros(len(view)))
    options = {"batch_size": 2, "seed": 3, "sampler": order, "num_workers": num_workers}
    loader = BatchLoader(view, TRAIN, **options, cache=cache)
    found = {epoch: [(b.indices.tolist(), b.images.tolist()) for b in loader.epoch(epoch)] for epoch in epochs}
    loader.close()
    return found


def test_neither_workers_nor_what_is_there_already_change_the_numbers(view):
    whole = batches(view, 0, (0, 1, 2), open_cache(view, TRAIN))
    assert batches(view, 2, (0, 1, 2), open_cache(view, TRAIN)) == whole
    assert batches(view, 0, (2,), open_cache(view, TRAIN))[2] == whole[2]


def test_chance_is_the_same_as_without_a_cache(view):
    class Noise:
        def __call__(self, image):
            return torch.randint(0, 256, (3, 2, 2), dtype=torch.uint8)

    options = {"batch_size": 5, "seed": 3, "num_workers": 0}
    plain, cached = (
        next(iter(BatchLoader(view, [Noise()], **options, cache=cache).epoch(4))).images
        for cache in (None, open_cache(view, [Noise()]))
    )
    assert torch.equal(plain, cached)


@pytest.mark.parametrize("has_files", [cache_files.MEMORY_HAS_FILES, False])
def test_memory_is_given_back(view, has_files, monkeypatch):
    monkeypatch.setattr(cache_files, "MEMORY_HAS_FILES", has_files)
    for let_go in (PixelCache.close, lambda cache: None):
        cache = open_cache(view, EVAL)
        file = cache.file
        assert all(map(torch.equal, all_of(cache), expected(view, EVAL)))
        assert file.exists()
        let_go(cache)
        del cache
        assert not file.exists()


@pytest.mark.skipif(not cache_files.MEMORY_HAS_FILES, reason="elsewhere it is a temporary file")
def test_a_killed_process_leaves_nothing_in_memory():
    code = (
        "import sys; from clscli.data.cache_files import file_in_memory; "
        "print(file_in_memory(80)[0], flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        file = Path(process.stdout.readline().strip())
        assert file.read_bytes() == bytes(80)  # other processes can open it
        process.kill()
    assert not file.exists()


def test_a_file_is_for_these_pictures_as_they_are_and_for_one_way_to_read_them(view):
    file = file_on_disk(view, ["facts"])
    assert file == file_on_disk(view, ["facts"])
    assert file != file_on_disk(view, ["other facts"])
    draw_picture(Path("1.png"), "square", 1, 31)
    assert file != file_on_disk(view, ["facts"])


def test_a_cache_folder_that_cannot_be_made_is_named(view, monkeypatch):
    Path("occupied").touch()
    monkeypatch.setenv("CLSCLI_CACHE", "occupied")
    with pytest.raises(WriteError) as caught:
        file_on_disk(view, [])
    assert str(caught.value) == f"{Path('occupied/pixels')}: cannot be made: Not a directory"
