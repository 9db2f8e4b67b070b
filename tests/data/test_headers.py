"""What cannot be read is found before a run, remembered, and left out of it."""

import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from clscli import observer as observers
from clscli import resume, train
from clscli.data import headers
from clscli.data.datasets.folder import Folder
from clscli.data.decode import UnreadableImageError
from clscli.data.headers import Remembered, read_headers
from clscli.data.readable import read_skipped
from clscli.data.samples import Sample
from clscli.data.split import View
from clscli.engine.prepare import prepare
from clscli.errors import DataError
from clscli.observer import LogLines, Observer
from clscli.spec import load_spec

TWO = ["disc", "square"]


@pytest.fixture
def photos(pictures, tmp_path) -> Path:
    """A copy of the small pictures, to be changed."""
    return Path(shutil.copytree(pictures, tmp_path / "photos"))


@pytest.fixture
def remembering(monkeypatch, tmp_path):
    """Remember small data sets, too, in a cache of the test's own."""
    monkeypatch.setattr(headers, "_WORTH_REMEMBERING", 1)
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the pictures whose headers are opened."""
    names, original = [], headers.check_header

    def check(source):
        names.append(Path(source).name)
        return original(source)

    monkeypatch.setattr(headers, "check_header", check)
    return names


def view_of(root: Path) -> View:
    dataset = Folder("train", root=root / "train")
    return View(dataset, range(len(dataset)), TWO)


def test_what_is_empty_missing_or_cut_off_is_found(photos):
    view = view_of(photos)
    assert read_headers(view).unreadable == {}
    Path(view[3].source).write_bytes(b"")
    Path(view[20].source).unlink()
    whole = Path(view[23].source).read_bytes()
    Path(view[23].source).write_bytes(whole[: len(whole) // 2])
    found = read_headers(view).unreadable
    assert set(found) == {3, 20, 23}
    assert found[3] == "not a picture, or of a format that cannot be read"
    assert found[20] == "no such file"
    assert "truncated" in found[23]


def test_it_is_found_among_many_in_their_order(photos):
    for picture in photos.rglob("*.png"):
        picture.write_bytes(b"")
    view = View(view_of(photos).dataset, [n % 24 for n in range(1000)], TWO)
    assert list(read_headers(view).unreadable) == list(range(1000))


def test_sizes_are_those_of_upright_pictures(photos):
    view = view_of(photos)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (30, 10)).save(view[1].source)
    Image.new("RGB", (30, 10)).save(view[2].source, exif=turned)
    Path(view[3].source).write_bytes(b"")
    sizes = read_headers(view).sizes
    assert (sizes.dtype, sizes.shape) == (torch.int32, (24, 2))
    assert sizes[:4].tolist() == [[20, 20], [10, 30], [30, 10], [0, 0]]
    view.sizes = sizes
    assert view.without([0, 3]).sizes[:2].tolist() == [[10, 30], [30, 10]]


class Bytes:
    """Pictures that are no files, the second of which is none."""

    classes = TWO
    targets = (0, 1)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Sample((b"", "memory://bucket/1.jpg")[index], index)


def test_what_is_no_file_here_is_left_to_the_training():
    found = read_headers(View(Bytes(), range(2), TWO))
    assert found.unreadable == {}
    assert found.sizes.tolist() == [[0, 0], [0, 0]]


def test_a_second_look_opens_only_what_has_changed(photos, remembering, opened):
    view = view_of(photos)
    first = read_headers(view).sizes
    assert len(opened) == 24
    opened.clear()
    assert torch.equal(read_headers(view_of(photos)).sizes, first)
    assert opened == []
    Image.new("RGB", (5, 7)).save(view[4].source)
    Image.new("RGB", (5, 7)).save(photos / "train" / "disc" / "new.png")
    os.utime(view[9].source, ns=(0, 0))
    again = read_headers(view_of(photos))
    assert sorted(opened) == ["004.png", "009.png", "new.png"]
    assert again.sizes[4].tolist() == [7, 5]


def test_pictures_that_could_not_be_read_are_not_remembered(photos, remembering, opened):
    bad = Path(view_of(photos)[3].source)
    bad.write_bytes(b"")
    read_headers(view_of(photos))
    opened.clear()
    assert list(read_headers(view_of(photos)).unreadable) == [3]
    assert opened == ["003.png"]


def test_train_and_val_of_one_folder_are_remembered_together(photos, remembering, opened):
    dataset = view_of(photos).dataset
    for part in (range(10), range(10, 24), range(24)):
        read_headers(View(dataset, part, TWO))
    assert len(opened) == 24


def test_a_damaged_cache_and_one_that_cannot_be_written_do_no_harm(photos, remembering, opened):
    view = view_of(photos)
    read_headers(view)
    file = Remembered.of(view.dataset).file
    file.write_bytes(b"no such thing")
    assert len(read_headers(view).unreadable) == 0
    assert len(opened) == 48
    shutil.rmtree(file.parent)
    file.parent.write_bytes(b"")  # a file in the place of the folder
    assert read_headers(view).unreadable == {}


def test_what_was_seen_before_an_interruption_is_remembered(photos, remembering, opened, monkeypatch):
    class Stop(Observer):
        def tick(self, amount):
            raise KeyboardInterrupt

    monkeypatch.setattr(headers, "_TASK", 6)
    monkeypatch.setattr(headers, "_THREADS", 1)
    with pytest.raises(KeyboardInterrupt):
        read_headers(view_of(photos), Stop())
    seen = len(opened)
    assert 6 <= seen <= 24
    read_headers(view_of(photos))
    assert len(opened) == 24


def test_long_passes_are_told_in_the_log(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "clscli")
    now = [100.0]
    monkeypatch.setattr(observers.time, "monotonic", lambda: now[0])
    lines = LogLines("checking pictures", 12_000)
    for seconds in (1, 3, 1.5, 20, 20):
        now[0] += seconds
        lines.tick(1000)
    assert caplog.messages == [
        "checking pictures: 3,000 of 12,000 images so far",
        "checking pictures: 5,000 of 12,000 images so far",
    ]


def test_a_folder_that_takes_long_is_told_in_the_log(photos, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "clscli")
    now = iter(range(1000))
    monkeypatch.setattr(observers.time, "monotonic", lambda: float(next(now)))
    Folder("train", root=photos / "train")
    assert caplog.messages == [f"looking for pictures in {photos / 'train'}: 5 files so far"]


def broken_run(photos: Path, tiny: dict, **data) -> list[Path]:
    """Break two pictures, and let the spec skip them."""
    bad = [photos / "train" / "disc" / "004.png", photos / "val" / "square" / "001.png"]
    for path in bad:
        path.rename(path.with_suffix(".kept"))
        path.write_bytes(b"")
    tiny["data"] |= {"root": str(photos), "on_bad_image": "skip", **data}
    return bad


def test_a_run_keeps_a_list_of_what_it_skips_and_goes_on_without_it(photos, tiny, opened):
    bad = broken_run(photos, tiny)
    tiny["train"]["epochs"] = 1
    train(tiny, out="run", device="cpu")
    reason = "not a picture, or of a format that cannot be read"
    assert Path("run/skipped.csv").read_text().splitlines() == [
        "path,split,reason",
        f'disc/004.png,train,"{reason}"',
        f'square/001.png,val,"{reason}"',
    ]
    for path in bad:  # mended, they would change the order of the epochs to come
        path.with_suffix(".kept").replace(path)
    opened.clear()
    data = prepare(load_spec(tiny), Path("run")).data
    assert (data.train.class_counts, data.val.class_counts) == ((11, 12), (6, 5))
    assert opened == []
    assert read_skipped(Path("run/skipped.csv")) == data.skipped
    resume("run", device="cpu")


def test_a_resumed_run_opens_no_headers(pictures, tiny, opened):
    train(tiny | {"train": {"epochs": 1}}, out="run", device="cpu")
    assert len(opened) == 36
    assert not Path("run/skipped.csv").exists()
    resume("run", device="cpu")
    assert len(opened) == 36


def test_the_check_can_be_left_out(photos, tiny, opened):
    broken_run(photos, tiny, check_headers=False)
    result = train(tiny | {"train": {"epochs": 1}}, out="run", device="cpu")
    assert opened == []
    assert result.last["unreadable"] == 2  # the training finds them
    tiny["data"]["on_bad_image"] = "error"
    with pytest.raises(DataError, match=r"not a picture, or of a format that cannot be read -- mend or remove it"):
        train(tiny | {"train": {"epochs": 1}}, device="cpu")


def test_what_a_data_set_reads_by_itself_is_left_to_the_training(remembering):
    class Broken:
        classes = TWO
        targets = (0, 1)

        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise UnreadableImageError("a.tar has no such member")

    found = read_headers(View(Broken(), range(2), TWO))
    assert (found.unreadable, found.sizes.tolist()) == ({}, [[0, 0], [0, 0]])


@pytest.mark.parametrize("content", ["path,split\na,train\n", "path,split,reason\na,test,bad\n"])
def test_a_list_of_skipped_pictures_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "skipped.csv").write_text(content)
    with pytest.raises(DataError) as error:
        read_skipped(tmp_path / "skipped.csv")
    expected = "is not a list of skipped pictures -- expected the columns path, split, reason"
    assert str(error.value) == f"{tmp_path / 'skipped.csv'}: {expected}"
