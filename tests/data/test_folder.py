"""One folder of pictures a class."""

import os
import pickle
import random
import re
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
from PIL import Image

from clscli.data.datasets.folder import Folder
from clscli.data.decode import extensions
from clscli.data.packed import PackedStrings
from clscli.errors import DataError


def make(root: Path, *names: str) -> Path:
    """Create empty files; nothing here looks into them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(folder: Folder) -> list[tuple[str, str]]:
    """List (class, path below the root) of every sample."""
    return [
        (folder.classes[s.target], os.path.relpath(s.source, folder.root))
        for s in map(folder.__getitem__, range(len(folder)))
    ]


def message(root: Path) -> str:
    with pytest.raises(DataError) as error:
        Folder("train", root=root)
    return str(error.value)


def test_classes_are_folders_and_everything_is_sorted(tmp_path):
    files = ["dog/1.jpg", "cat/2.jpg", "cat/10.jpg", "Ant/x.png", "a dog/1.jpg", "猫/1.jpg"]
    orders = [files, files[::-1], random.Random(0).sample(files, len(files))]
    folders = [Folder("train", root=make(tmp_path / str(i), *order)) for i, order in enumerate(orders)]
    for folder in folders:
        assert folder.classes == ["Ant", "a dog", "cat", "dog", "猫"]
        assert names(folder) == [
            ("Ant", "Ant/x.png"),
            ("a dog", "a dog/1.jpg"),
            ("cat", "cat/10.jpg"),
            ("cat", "cat/2.jpg"),
            ("dog", "dog/1.jpg"),
            ("猫", "猫/1.jpg"),
        ]
        assert list(folder.targets) == [0, 1, 2, 2, 3, 4]
        assert len(folder) == 6


def test_nested_classes_are_named_by_their_path(tmp_path):
    make(tmp_path, "pets/cat/1.jpg", "wild/cat/1.jpg", "wild/2.jpg", "bird/1.jpg")
    folder = Folder("train", root=tmp_path)
    assert folder.classes == ["bird", "pets/cat", "wild", "wild/cat"]
    assert ("wild", "wild/2.jpg") in names(folder)
    assert folder.empty == []


def test_hidden_files_and_folders_are_passed_over_without_a_word(tmp_path):
    make(tmp_path, "cat/1.jpg", "cat/._1.jpg", "cat/.DS_Store", ".git/1.jpg", "cat/.thumbs/1.jpg", "dog/1.jpg")
    folder = Folder("train", root=tmp_path)
    assert names(folder) == [("cat", "cat/1.jpg"), ("dog", "dog/1.jpg")]
    assert not folder.skipped


def test_every_extension_that_pillow_reads_counts_in_any_case(tmp_path):
    files = [f"cat/{i}{e if i % 2 else e.upper()}" for i, e in enumerate(sorted(extensions()))]
    folder = Folder("train", root=make(tmp_path, *files))
    assert {path for _, path in names(folder)} == set(files)
    assert len(folder) == len(extensions()) > 40


def test_other_files_are_counted_by_kind(tmp_path):
    make(tmp_path, "cat/1.jpg", "cat/a.txt", "cat/B.TXT", "dog/1.jpg", "dog/c.csv", "dog/README", "x.json")
    assert Folder("train", root=tmp_path).skipped == {".txt": 2, ".csv": 1, "README": 1, ".json": 1}


def test_class_folders_without_pictures_are_named_and_no_class(tmp_path):
    make(tmp_path, "cat/1.jpg", "dog/1.txt")
    (tmp_path / "bird").mkdir()
    (tmp_path / "pets" / "fish").mkdir(parents=True)
    folder = Folder("train", root=tmp_path)
    assert folder.classes == ["cat"]
    assert folder.empty == ["bird", "dog", "pets/fish"]


def test_pictures_in_no_class_folder_are_counted(tmp_path):
    folder = Folder("train", root=make(tmp_path, "1.jpg", "2.jpg", "cat/1.jpg"))
    assert folder.loose == 2
    assert names(folder) == [("cat", "cat/1.jpg")]


def test_links_that_lead_in_circles_end(tmp_path):
    make(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "same").symlink_to(".")
    assert names(Folder("train", root=tmp_path)) == [("cat", "cat/1.jpg"), ("dog", "dog/1.jpg")]


def test_two_folders_that_link_to_each_other_end(tmp_path):
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    (tmp_path / "a" / "b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    assert Folder("train", root=tmp_path).classes == ["a", "a/b", "b", "b/a"]


def test_a_linked_class_folder_and_a_linked_picture_are_read(tmp_path):
    make(tmp_path / "store", "1.jpg")
    (tmp_path / "data" / "dog").mkdir(parents=True)
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "dog" / "2.jpg").symlink_to(tmp_path / "store" / "1.jpg")
    folder = Folder("train", root=tmp_path / "data")
    assert names(folder) == [("cat", "cat/1.jpg"), ("dog", "dog/2.jpg")]


def test_a_link_to_itself_or_to_nothing_is_a_picture_that_cannot_be_read(tmp_path):
    make(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    assert [path for _, path in names(Folder("train", root=tmp_path))] == [
        "cat/1.jpg",
        "cat/gone.jpg",
        "cat/loop.jpg",
    ]


def test_names_of_undecodable_bytes_come_back_as_they_were(tmp_path):
    try:
        make(tmp_path, os.fsdecode(b"caf\xe9/pho\xff.jpg"), "cat/line\nbreak.jpg")
    except (OSError, UnicodeError):
        pytest.skip("this file system allows no such name")
    folder = Folder("train", root=tmp_path)
    assert [os.fsencode(name) for name in folder.classes] == [b"caf\xe9", b"cat"]
    assert [os.fsencode(path) for _, path in names(folder)] == [b"caf\xe9/pho\xff.jpg", b"cat/line\nbreak.jpg"]
    assert all(Path(folder[i].source).exists() for i in range(2))


def test_a_folder_that_is_not_there(tmp_path):
    assert message(tmp_path / "none") == f"{tmp_path / 'none'}: no such folder"


def test_a_file_instead_of_a_folder(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.jpg")
    assert message(tmp_path / "a.jpg") == f"{tmp_path / 'a.jpg'}: is not a folder"


def test_an_empty_folder(tmp_path):
    expected = f"{tmp_path}: no pictures in it -- expected one folder a class, with pictures in each"
    assert message(tmp_path) == expected
    (tmp_path / "cat").mkdir()
    assert message(tmp_path) == expected


def test_a_folder_of_other_files(tmp_path):
    make(tmp_path, "cat/1.txt", "cat/2.txt", "dog/1.mp4")
    assert message(tmp_path) == f"{tmp_path}: no pictures in it, only files of other kinds (2 .txt, 1 .mp4)"


def test_a_folder_of_pictures_without_classes(tmp_path):
    root = make(tmp_path / "photos", "1.jpg", "2.jpg")
    assert message(root) == (
        f"{root}: 2 pictures, but no class folders -- put them into one folder a class: photos/cat/1.jpg"
    )


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may list everything")
def test_a_folder_that_may_not_be_listed(tmp_path):
    make(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "dog").chmod(0)
    try:
        assert message(tmp_path) == f"{tmp_path / 'dog'}: Permission denied"
    finally:
        (tmp_path / "dog").chmod(0o700)


def test_a_folder_survives_pickling(tmp_path):
    folder = Folder("train", root=make(tmp_path, "cat/1.jpg", "dog/2.jpg"))
    assert names(pickle.loads(pickle.dumps(folder))) == names(folder)


STRINGS = ["", "a", "naïve 猫", "line\nbreak", os.fsdecode(b"caf\xe9"), "x" * 1000]


def test_packed_strings_are_a_sequence_of_the_strings():
    packed = PackedStrings(iter(STRINGS))
    assert len(packed) == len(STRINGS)
    assert list(packed) == STRINGS
    assert [packed[i] for i in reversed(range(len(STRINGS)))] == STRINGS[::-1]


@pytest.mark.parametrize("index", [-1, 2, 100])
def test_packed_strings_know_their_length(index):
    with pytest.raises(IndexError, match=re.escape(str(index))):
        PackedStrings(iter(["a", "b"]))[index]


def test_packed_strings_take_little_more_than_their_letters():
    many = [f"class/{i:08}.jpg" for i in range(10_000)]
    packed = PackedStrings(iter(many))
    as_objects = sum(map(sys.getsizeof, many))
    assert len(pickle.dumps(packed)) < 10_000 * (19 + 8) + 1000 < as_objects / 2


def test_the_names_of_a_folder_are_handed_to_other_processes_without_copies(tmp_path):
    folder = Folder("train", root=make(tmp_path, *(f"{c}/{i:04}.jpg" for c in ("cat", "dog") for i in range(500))))
    before = names(folder)
    sent = bytes(ForkingPickler.dumps(folder))  # as to a spawned worker: this moves them into shared memory
    assert len(sent) < 2500
    assert names(folder) == before
    assert names(pickle.loads(sent)) == before
    assert len(folder.targets) == 1000
