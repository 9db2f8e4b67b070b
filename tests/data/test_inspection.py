"""Every picture is read once, in order, and whoever watches is told."""

import hashlib
import io

import pytest
import torch
from PIL import Image

from clscli.data.catalog import open_training_data
from clscli.data.check import check_data
from clscli.data.decode import UnreadableImageError
from clscli.data.inspection import survey
from clscli.data.samples import Sample
from clscli.data.split import View
from clscli.observer import Observer
from clscli.reports.data_check import format_report
from clscli.spec import load_spec


class Recorder(Observer):
    """Write down what is told."""

    def __init__(self):
        self.begun, self.ticks = [], []

    def begin(self, what, total, unit="images"):
        self.begun.append((what, total, unit))
        self.ticks.append(0)

    def tick(self, amount):
        self.ticks[-1] += amount


class Listed:
    """A data set of given sources."""

    classes = ("a", "b")

    def __init__(self, *sources):
        self.sources = sources
        self.targets = [i % 2 for i in range(len(sources))]

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, index):
        if isinstance(self.sources[index], Exception):
            raise self.sources[index]
        return Sample(self.sources[index], self.targets[index])


def view_of(*sources):
    return View(Listed(*sources), range(len(sources)), ["a", "b"])


def png(width, height=1):
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, format="PNG")
    return file.getvalue()


def test_facts_are_in_the_order_of_the_pictures():
    pictures = [png(1 + number % 90, 2) for number in range(1000)]
    watcher = Recorder()
    found = survey("train", view_of(*pictures), watcher)
    assert found.widths.tolist() == [1 + number % 90 for number in range(1000)]
    assert set(found.heights) == {2}
    assert found.sides(max).tolist() == [max(2, 1 + number % 90) for number in range(1000)]
    assert found.num_bytes == sum(map(len, pictures))
    hashes = [hashlib.blake2b(picture, digest_size=16).digest() for picture in pictures]
    assert bytes(found.digests) == b"".join(hashes)
    assert (watcher.begun, watcher.ticks) == ([("reading train", 1000, "images")], [1000])


def test_an_unreadable_picture_keeps_its_place():
    found = survey("val", view_of(png(3), b"", png(5)), Observer())
    assert found.unreadable == {1: "not a picture, or of a format that cannot be read"}
    assert found.widths.tolist() == [3, 0, 5]
    assert found.sides(min).tolist() == [1, 1]
    assert found.count_smaller(height=1, width=5) == 1
    assert found.formats == {"PNG": 2}


def test_what_a_data_set_itself_cannot_read_is_unreadable():
    found = survey("val", view_of(png(3), UnreadableImageError("a.tar has no such member")), Observer())
    assert found.unreadable == {1: "a.tar has no such member"}
    assert found.view.name(0) == "#0"


def test_pictures_without_a_file_are_compared_by_their_pixels():
    pixels = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    other_shape = pixels.view(3, 4, 1)
    gray = Image.new("L", (2, 2), 7)
    found = survey("train", view_of(pixels, pixels.clone(), other_shape, gray, gray.convert("RGB")), Observer())
    digests = [bytes(found.digests[start : start + 16]) for start in range(0, 80, 16)]
    assert digests[0] == digests[1] != digests[2]
    assert digests[3] == digests[4]  # as a model sees them
    assert found.modes == {"RGB": 4, "L": 1}
    assert found.formats == {"decoded": 5}
    assert found.view.name(3) == "#3"


def test_a_url_is_read_as_a_file_is(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://inspected/a.png", "wb") as file:
        file.write(png(4))
    (tmp_path / "a.png").write_bytes(png(4))
    found = survey("train", view_of("memory://inspected/a.png", str(tmp_path / "a.png"), "gone.png"), Observer())
    assert found.digests[:16] == found.digests[16:32]
    assert found.unreadable == {2: "no such file"}


def test_each_split_is_a_pass_and_bars_need_no_unicode(tiny):
    watcher = Recorder()
    report = check_data(load_spec(tiny), watcher)
    assert [what for what, _, _ in watcher.begun] == ["reading train", "reading val"]
    assert watcher.ticks == [24, 12]
    text = format_report(report, width=60, encoding="ascii")
    assert text.splitlines()[1] == f"disc       12    6  {'#' * 34}"
    assert text.isascii()
    assert open_training_data(load_spec(tiny)).train.classes == report.classes
