"""The digits that clscli draws."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from PIL import Image

from clscli.data.datasets import _digit_drawing
from clscli.data.datasets import digits as digits_module
from clscli.data.datasets.digits import digits, digits_folder, draw_digits
from clscli.errors import DataError

SMALL = {"num_train": 43, "num_val": 20, "size": 32, "seed": 0}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "drawn"
    draw_digits(folder, **SMALL)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*/*")}


def fail(*args, **kwargs):
    raise AssertionError("drew again")


@pytest.mark.parametrize(("split", "num_pictures"), [("train", 43), ("val", 20)])
def test_digits_is_a_balanced_folder_of_ten_classes(split, num_pictures):
    dataset = digits(split, **SMALL)
    assert dataset.classes == list("0123456789")
    assert len(dataset) == num_pictures
    counts = Counter(dataset[i].target for i in range(len(dataset)))
    assert set(counts) == set(range(10))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(Path(dataset[i].source).parent.name == str(dataset[i].target) for i in range(len(dataset)))


def test_the_class_folder_says_what_was_drawn(monkeypatch, tmp_path):
    asked = []

    def note(digit, glyphs, size, rng):
        asked.append(digit)
        return Image.new("RGB", (size, size), (digit, digit, digit))

    monkeypatch.setattr(digits_module, "draw_digit", note)
    draw_digits(tmp_path / "d", num_train=20, num_val=10, size=16, seed=0)
    assert sorted(asked) == sorted([*range(10)] * 3)
    for path in (tmp_path / "d").glob("*/*/*.jpg"):
        with Image.open(path) as picture:
            assert picture.getpixel((8, 8)) == (int(path.parent.name),) * 3


def test_pictures_are_rgb_jpegs_named_by_index(drawn):
    names = sorted(path.name for path in drawn.glob("train/*/*"))
    assert names == [f"{index:05d}.jpg" for index in range(43)]
    for path in drawn.glob("*/*/*"):
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (32, 32))


@pytest.mark.parametrize("size", [16, 33, 256])
def test_pictures_have_the_size_asked_for(tmp_path, size):
    draw_digits(tmp_path / "d", num_train=10, num_val=10, size=size, seed=0)
    for path in (tmp_path / "d").glob("*/*/*"):
        with Image.open(path) as picture:
            assert picture.size == (size, size)


def test_same_settings_draw_the_same_pictures(drawn, tmp_path):
    draw_digits(tmp_path / "again", **SMALL)
    assert contents(tmp_path / "again") == contents(drawn)


def test_another_seed_draws_other_pictures(drawn, tmp_path):
    draw_digits(tmp_path / "other", **{**SMALL, "seed": 1})
    assert set(contents(tmp_path / "other").values()).isdisjoint(contents(drawn).values())


def test_no_picture_occurs_twice_even_across_splits(drawn):
    pictures = contents(drawn)
    assert len(set(pictures.values())) == len(pictures) == 63


def test_a_picture_does_not_depend_on_how_many_there_are(drawn, tmp_path):
    draw_digits(tmp_path / "few", **{**SMALL, "num_train": 10})
    few = contents(tmp_path / "few")
    assert few == {name: contents(drawn)[name] for name in few}


def test_settings_have_folders_of_their_own(cache):
    changes = [{}, {"num_train": 44}, {"num_val": 21}, {"size": 16}, {"seed": 1}]
    folders = {digits_folder(**{**SMALL, **change}) for change in changes}
    assert len(folders) == len(changes)
    assert {folder.parent for folder in folders} == {cache / "digits"}


def test_another_drawing_does_not_meet_old_pictures(monkeypatch):
    old = digits_folder(**SMALL)
    monkeypatch.setattr(digits_module, "DRAWING", 10_000)
    assert digits_folder(**SMALL) != old


def test_second_use_draws_nothing_and_says_nothing(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "clscli")
    first = digits_folder(**SMALL)
    assert caplog.messages == [f"drawing 43 + 20 digits into {first}"]
    monkeypatch.setattr(digits_module, "draw_digits", fail)
    assert digits_folder(**SMALL) == first
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_nothing(monkeypatch, cache, error):
    def stop(digit, glyphs, size, rng):
        if digit == 7:
            raise error
        return Image.new("RGB", (size, size))

    monkeypatch.setattr(digits_module, "draw_digit", stop)
    with pytest.raises(error):
        digits_folder(**SMALL)
    assert list((cache / "digits").iterdir()) == []


def test_two_writers_at_once_leave_one_whole_folder(monkeypatch, cache, drawn):
    both_have_drawn = Barrier(2, timeout=30)

    def draw_and_wait(folder, **settings):
        draw_digits(folder, **settings)
        both_have_drawn.wait()

    monkeypatch.setattr(digits_module, "draw_digits", draw_and_wait)
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(digits_folder, **SMALL) for _ in range(2)]
        folder, same = (writer.result() for writer in writers)
    assert folder == same
    assert list((cache / "digits").iterdir()) == [folder]
    assert contents(folder) == contents(drawn)


def test_a_failing_rename_is_not_taken_for_a_lost_race(monkeypatch, cache):
    def refuse(self, target):
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError, match="read-only"):
        digits_folder(**SMALL)
    assert list((cache / "digits").iterdir()) == []


def test_an_unknown_split_is_refused_in_words(cache):
    with pytest.raises(ValueError, match="the drawn digits have no split 'test', only 'train' and 'val'"):
        digits("test", **SMALL)
    assert not cache.exists()


def test_every_font_named_is_there_and_has_ten_different_digits():
    glyphs = _digit_drawing.load_glyphs(32)
    assert len(glyphs) == len(_digit_drawing.FONTS)
    for font in glyphs:
        assert len({glyph.tobytes() for glyph in font}) == 10
        assert all(glyph.getbbox() is not None for glyph in font)


def test_missing_fonts_are_skipped_and_none_at_all_is_said(monkeypatch):
    monkeypatch.setattr(_digit_drawing, "FONTS", ("NoSuchFont", "DejaVuSans"))
    assert len(_digit_drawing.load_glyphs(16)) == 1
    monkeypatch.setattr(_digit_drawing, "FONTS", ("NoSuchFont",))
    with pytest.raises(DataError, match=r"no font to draw digits with: .* has none of NoSuchFont"):
        _digit_drawing.load_glyphs(16)
