"""Views of a data set, and dividing one into train and val."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from clscli.data.datasets.folder import Folder
from clscli.data.decode import UnreadableImageError
from clscli.data.samples import Sample, targets_of
from clscli.data.split import (
    PARTS,
    View,
    part,
    read_manifest,
    sample_key,
    stratified_split,
    whole,
    write_manifest,
)
from clscli.errors import DataError


@dataclass
class Files:
    """A data set of files that nobody opens: (path, class index) in any order."""

    classes: list[str]
    samples: list[tuple[str, int]]
    root: str | None = "/data"

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        path, target = self.samples[index]
        return Sample(path if self.root is None else f"{self.root}/{path}", target)


@dataclass
class InMemory:
    """A data set whose samples are no files, and that knows its targets."""

    classes: list[str]
    targets: list[int]
    fetched: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Sample:
        self.fetched.append(index)
        return Sample(Image.new("RGB", (1, 1)), self.targets[index])


def files(root: str = "/data", **counts: int) -> Files:
    classes = sorted(counts)
    named = [(f"{name}/{i}.jpg", classes.index(name)) for name in classes for i in range(counts[name])]
    return Files(classes, named, root)


def by_key(dataset, parts) -> dict[str, str]:
    """Tell of every sample which part it is in, by its key."""
    numbers = parts.tolist()
    return {sample_key(dataset, i): PARTS[number] for i, number in enumerate(numbers) if number >= 0}


def divide(dataset, fraction: float, seed: int = 0) -> dict[str, str]:
    return by_key(dataset, stratified_split(dataset, fraction, seed))


def numbers(dataset, parts) -> dict[str, Counter]:
    """Count the samples of each class on each side."""
    counts = {name: Counter() for name in dataset.classes}
    for index, number in enumerate(parts.tolist()):
        counts[dataset.classes[dataset[index].target]][PARTS[number]] += 1
    return counts


def test_targets_come_from_the_data_set_if_it_knows_them():
    known = InMemory(["a", "b"], [1, 0, 1])
    assert list(targets_of(known)) == [1, 0, 1]
    assert known.fetched == []
    assert list(targets_of(files(a=1, b=2))) == [0, 1, 1]


def test_samples_are_named_by_their_path_or_not_at_all():
    class Mixed:
        classes: ClassVar = ["a"]
        targets: ClassVar = [0, 0, 0, 0]

        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 3:
                raise UnreadableImageError("no such key")
            return Sample(["a/1.jpg", Path("a/1.jpg"), b"\xff\xd8"][index], 0)

    view = View(Mixed(), range(4), ["a"])
    assert [view.name(i) for i in range(4)] == ["a/1.jpg", str(Path("a/1.jpg")), "#2", "#3"]


def test_targets_are_indices_of_classes():
    class Counted:
        classes: ClassVar = ["a", "b"]

        def __init__(self, *targets):
            self.own = targets

        def __len__(self):
            return len(self.own)

        def __getitem__(self, index):
            return Sample("a.jpg", self.own[index])

    assert View(Counted(np.int64(1), 0), range(2), ["a", "b"]).targets.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"^sample #1 has the target 0\.5, which is not the index of a class$"):
        View(Counted(1, 0.5), range(2), ["a", "b"])


def test_a_view_translates_targets_by_class_name():
    view = View(files(cat=2, dog=1), range(3), ["dog", "bird", "cat"])
    assert list(view.targets) == [2, 2, 0]
    assert [view[i].target for i in range(3)] == [2, 2, 0]
    assert [view[i].source for i in range(3)] == ["/data/cat/0.jpg", "/data/cat/1.jpg", "/data/dog/0.jpg"]
    assert view.class_counts == (1, 0, 2)


def test_a_view_shows_the_chosen_samples_in_the_chosen_order():
    view = View(files(cat=3, dog=3), [4, 0, 5], ["cat", "dog"])
    assert len(view) == 3
    assert [view.key(i) for i in range(3)] == ["dog/1.jpg", "cat/0.jpg", "dog/2.jpg"]
    assert list(view.targets) == [1, 0, 1]


def test_a_view_without_some_samples_keeps_the_others():
    view = View(files(cat=3, dog=3), [4, 0, 5, 1], ["dog", "cat"]).without({0, 3})
    assert [view.key(i) for i in range(len(view))] == ["cat/0.jpg", "dog/2.jpg"]
    assert list(view.targets) == [1, 0]


def test_keys_are_paths_below_the_root_or_numbers():
    assert sample_key(files("/here", cat=1), 0) == sample_key(files("/there/else", cat=1), 0) == "cat/0.jpg"
    assert sample_key(InMemory(["a"], [0, 0]), 1) == "#1"


def test_a_data_set_without_a_root_is_keyed_by_whole_paths():
    assert sample_key(Files(["cat"], [("photos/x/1.jpg", 0)], root=None), 0) == "photos/x/1.jpg"


def test_a_whole_view_may_lack_classes_and_order_them_otherwise():
    view = whole(files(cat=1, dog=2), ["dog", "bird", "cat"], "here")
    assert view.class_counts == (2, 0, 1)


@pytest.mark.parametrize(
    ("there", "known", "expected"),
    [
        (["bird", "cat", "owl"], ["cat", "dog"], "'bird', 'owl' (it knows 'cat', 'dog')"),
        (list("abcdefg"), list("tuvwxyz"), "'a', 'b', 'c', 'd', 'e', ... (it knows 't', 'u', 'v', 'w', 'x', ...)"),
    ],
)
def test_unknown_classes_are_an_error_that_names_them(there, known, expected):
    with pytest.raises(DataError) as error:
        whole(files(**dict.fromkeys(there, 1)), known, "the validation pictures")
    expected = f"the validation pictures: has classes that the model does not know: {expected}"
    assert str(error.value) == expected


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2, 0.5, 0.75, 0.99])
def test_every_class_is_divided_by_the_same_fraction_but_never_emptied(fraction):
    dataset = files(one=1, two=2, three=3, ten=10, many=137)
    counts = numbers(dataset, stratified_split(dataset, fraction, seed=0))
    assert counts["one"] == {"train": 1}
    for name, total in (("two", 2), ("three", 3), ("ten", 10), ("many", 137)):
        assert counts[name].total() == total
        assert 1 <= counts[name]["val"] <= total - 1
        assert counts[name]["val"] in {1, total - 1} or abs(counts[name]["val"] - total * fraction) <= 0.5


def test_a_division_does_not_depend_on_order_or_place():
    dataset = files("/data", cat=20, dog=30)
    moved = Files(dataset.classes, dataset.samples[::-1], "/mnt/elsewhere/photos")
    assert divide(moved, 0.2) == divide(dataset, 0.2)


def test_another_seed_divides_otherwise():
    dataset = files(cat=50, dog=50)
    splits = [stratified_split(dataset, 0.2, seed) for seed in (0, 1)]
    assert splits[0].tolist() != splits[1].tolist()
    assert numbers(dataset, splits[0]) == numbers(dataset, splits[1])


def test_val_is_not_the_first_or_last_files_of_a_class():
    manifest = divide(files(cat=1000), 0.5)
    first_half = sum(manifest[f"cat/{i}.jpg"] == "val" for i in range(500))
    assert 200 < first_half < 300


def test_one_more_file_moves_at_most_one_other_of_its_class_and_none_elsewhere():
    dataset = files(cat=100, dog=100)
    old = divide(dataset, 0.2)
    for number in range(20):
        new = divide(Files(dataset.classes, [(f"cat/new{number}.jpg", 0), *dataset.samples]), 0.2)
        moved = [key for key in old if new[key] != old[key]]
        assert len(moved) <= 1
        assert all(key.startswith("cat/") for key in moved)


def test_parts_are_what_the_manifest_says_and_miss_nothing():
    dataset = files(cat=10, dog=7)
    manifest = stratified_split(dataset, 0.3, 0)
    views = {split: part(dataset, manifest, split, ["dog", "cat"]) for split in ("train", "val")}
    keys = {split: [view.key(i) for i in range(len(view))] for split, view in views.items()}
    assert {key: split for split in keys for key in keys[split]} == by_key(dataset, manifest)
    assert sum(map(len, views.values())) == 17
    assert views["val"].class_counts == (2, 3)


def test_files_that_the_manifest_does_not_know_are_in_no_part(tmp_path):
    dataset = files(cat=4, dog=4)
    write_manifest(tmp_path / "split.csv", dataset, stratified_split(dataset, 0.5, 0))
    grown = files(bird=9, cat=6, dog=4)
    parts = read_manifest(tmp_path / "split.csv", grown)
    views = [part(grown, parts, split, ["cat", "dog"]) for split in ("train", "val")]
    assert [view.class_counts for view in views] == [(2, 2), (2, 2)]


def test_a_part_with_classes_that_are_unknown_is_an_error_that_names_them():
    dataset = files(bird=4, cat=4)
    with pytest.raises(DataError) as error:
        part(dataset, stratified_split(dataset, 0.5, 0), "val", ["cat", "dog"])
    expected = "the split 'val': has classes that the model does not know: 'bird' (it knows 'cat', 'dog')"
    assert str(error.value) == expected


ODD = [
    "a,b.jpg",
    'say "hi".jpg',
    " space .jpg",
    "naïve-猫.jpg",
    "line\nbreak.jpg",
    "ret\rurn.jpg",
    os.fsdecode(b"\xff.jpg"),
]


def test_a_division_survives_its_file_whatever_the_names(tmp_path):
    dataset = Files(["cat", "dog, old"], [(f"x/{name}", i % 2) for i, name in enumerate(ODD)])
    manifest = stratified_split(dataset, 0.5, 0)
    write_manifest(tmp_path / "split.csv", dataset, manifest)
    assert read_manifest(tmp_path / "split.csv", dataset).tolist() == manifest.tolist()
    assert set(manifest.tolist()) == {0, 1}


def test_a_division_is_read_in_any_order_of_rows_or_samples(tmp_path):
    dataset = files(cat=30, dog=20)
    parts = stratified_split(dataset, 0.3, 0)
    write_manifest(tmp_path / "split.csv", dataset, parts)
    head, *rows = (tmp_path / "split.csv").read_text().splitlines(keepends=True)
    (tmp_path / "split.csv").write_text("".join([head, *rows[7:], "cat/gone.jpg,cat,val\n", *rows[:7]]))
    turned = Files(dataset.classes, dataset.samples[::-1], "/elsewhere")
    assert read_manifest(tmp_path / "split.csv", turned).tolist() == parts.tolist()[::-1]


def test_samples_of_one_name_stay_together():
    dataset = files(cat=9)
    twice = Files(["cat"], dataset.samples * 2)
    for seed in range(20):
        parts = stratified_split(twice, 0.5, seed).tolist()
        assert parts[:9] == parts[9:]
        assert set(parts) == {0, 1}
    assert stratified_split(Files(["cat"], [("cat/1.jpg", 0)] * 2), 0.5, 0).tolist() == [0, 0]


def test_a_division_is_the_one_that_it_always_was():
    """Runs of older versions without a saved division must find the same again."""
    parts = stratified_split(files(cat=8, dog=5), 0.3, seed=3)
    assert parts.tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_the_file_of_a_division_can_be_read_by_people(tmp_path):
    dataset = files(cat=2, dog=1)
    write_manifest(tmp_path / "s.csv", dataset, torch.tensor([1, 0, 0]))
    lines = (tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["path,class,split", "cat/0.jpg,cat,val", "cat/1.jpg,cat,train", "dog/0.jpg,dog,train"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"path,class,split\n",
        b"path,class\na.jpg,cat\n",
        b"file,class,split\na.jpg,cat,val\n",
        b"path,class,split\na.jpg,cat,test\n",
        b"path,class,split\na.jpg,cat\n",
        b"\xff\xd8\xff\0\0\0",
        b'path,class,split\n"' + b"x" * 200_000,
    ],
)
def test_a_file_that_is_no_division_is_refused(tmp_path, content):
    path = tmp_path / "split.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_manifest(path, files(cat=1))
    expected = f"{path}: is not a split of clscli's -- expected the columns path, class, split"
    assert str(error.value) == expected


def test_a_folder_of_files_with_undecodable_names_can_be_divided(tmp_path):
    for i in range(4):
        path = tmp_path / "data" / "cat" / os.fsdecode(b"caf\xe9%d.jpg" % i)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.touch()
        except (OSError, UnicodeError):
            pytest.skip("this file system allows no such name")
    folder = Folder("train", root=tmp_path / "data")
    manifest = stratified_split(folder, 0.5, 0)
    write_manifest(tmp_path / "split.csv", folder, manifest)
    assert read_manifest(tmp_path / "split.csv", folder).tolist() == manifest.tolist()
    assert [len(part(folder, manifest, split, ["cat"])) for split in ("train", "val")] == [2, 2]
