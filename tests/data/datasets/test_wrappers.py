"""Data sets made of others: joined and shown several times; and trainings on them."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clscli import evaluate, predict, train
from clscli.data.catalog import open_training_data
from clscli.data.datasets.folder import Folder
from clscli.data.datasets.wrappers import Concat, Repeat, innermost
from clscli.data.samples import LabelSets, Sample, targets_of
from clscli.data.split import View
from clscli.errors import SpecError
from clscli.spec import load_spec


class Letters:
    """Sources that are text, one target each; `fetched` counts the samples that were asked for."""

    def __init__(self, sources, classes, targets, *, multi_label=False):
        self.sources, self.classes, self.targets = sources, classes, targets
        self.multi_label = multi_label
        self.fetched = 0

    def __len__(self):
        return len(self.sources)

    def __getitem__(self, index):
        self.fetched += 1
        return Sample(self.sources[index], self.targets[index])

    def name(self, index):
        return self.sources[index]


class Untold(Letters):
    """Letters whose targets must be asked for one by one, as must their names."""

    name = None

    @property
    def targets(self):
        raise AttributeError

    @targets.setter
    def targets(self, values):
        self.values = values

    def __getitem__(self, index):
        return Sample(self.sources[index], self.values[index])


def contents(dataset):
    """Give all of a data set: sources, names and class names."""
    names = dataset.classes
    assert list(dataset.targets) == [dataset[i].target for i in range(len(dataset))]
    return [(dataset[i].source, dataset.name(i), names[dataset.targets[i]]) for i in range(len(dataset))]


AB = Letters(["a1", "b1", "a2"], ["a", "b"], [0, 1, 0])
CA = Letters(["c1", "a1"], ["c", "a"], [0, 1])


def test_concat_joins_classes_by_name():
    both = Concat(datasets=[AB, CA])
    assert both.classes == ["a", "b", "c"]
    assert contents(both) == [
        ("a1", "0/a1", "a"),
        ("b1", "0/b1", "b"),
        ("a2", "0/a2", "a"),
        ("c1", "1/c1", "c"),
        ("a1", "1/a1", "a"),
    ]
    with pytest.raises(IndexError):
        both[5]
    with pytest.raises(IndexError):
        both[-1]


def test_repeat_shows_all_several_times_in_training_only():
    again = Repeat("train", dataset=AB, times=2)
    once = [("a1", "a1", "a"), ("b1", "b1", "b"), ("a2", "a2", "a")]
    assert contents(again) == once * 2
    assert again.repeats
    for split in ("val", "test"):
        assert contents(Repeat(split, dataset=AB, times=2)) == once
        assert not Repeat(split, dataset=AB, times=2).repeats
    with pytest.raises(IndexError):
        again[6]


def test_targets_need_no_sample():
    letters = Letters(["a", "b"], ["a", "b"], [0, 1])
    wrapped = Repeat("train", dataset=Concat(datasets=[letters, letters]), times=3)
    assert list(targets_of(wrapped)) == [0, 1, 0, 1] * 3
    assert View(wrapped, range(len(wrapped)), wrapped.classes).class_counts == (6, 6)
    assert wrapped.name(2) == "1/a"
    assert letters.fetched == 0


def test_targets_are_as_small_as_arrays():
    big = Letters([], ["a", "b"], np.zeros(100_000, np.int64))
    big.sources = range(100_000)
    targets = Repeat("train", dataset=Concat(datasets=[big, big]), times=2).targets
    assert len(memoryview(targets)) == 400_000
    assert memoryview(targets).itemsize == 8


def test_a_data_set_without_targets_and_names_is_asked_for_them():
    untold = Untold(["x", "y"], ["a", "b"], [1, 0])
    both = Concat(datasets=[untold, Repeat("val", dataset=untold)])
    assert list(both.targets) == [1, 0, 1, 0]
    assert [both.name(i) for i in range(4)] == ["0/x", "0/y", "1/x", "1/y"]


def test_several_labels_and_none_pass_through():
    first = Letters(["p", "q"], ["a", "b"], LabelSets([(0, 1), ()]), multi_label=True)
    second = Letters(["r"], ["b", "c"], LabelSets([(0, 1)]), multi_label=True)
    both = Repeat("train", dataset=Concat(datasets=[second, first]), times=2)
    assert both.multi_label
    assert both.classes == ["b", "c", "a"]
    assert list(both.targets) == [(0, 1), (0, 2), ()] * 2
    assert [both[i].target for i in range(3)] == [(0, 1), (0, 2), ()]

    bare = Letters(["x"], [], [None])
    wrapped = Repeat("train", dataset=Concat(datasets=[bare, bare]), times=2)
    assert (wrapped.classes, list(wrapped.targets), wrapped[3].target) == ([], [None] * 4, None)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Letters(["x"], [], [None]), "some of the data sets have labels, others have none"),
        (Letters(["x"], ["a"], [(0,)], multi_label=True),
         "some of the data sets have one label for each picture, others have several"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined(other, message):
    with pytest.raises(ValueError, match=r".") as caught:
        Concat(datasets=[AB, other])
    assert str(caught.value) == message


def test_wrappers_reach_other_processes():
    dataset = Repeat("train", dataset=Concat(datasets=[AB, CA]), times=2)
    assert contents(pickle.loads(pickle.dumps(dataset))) == contents(dataset)


def test_the_innermost_data_sets():
    dataset = Repeat("train", dataset=Concat(datasets=[AB, Repeat("val", dataset=CA)]))
    assert list(innermost(dataset)) == [AB, CA]


# In runs


def in_folders(pictures, **more):
    folders = [{"type": "folder", "root": str(pictures / split)} for split in ("train", "val")]
    return {"type": "concat", "datasets": folders} | more


def view_keys(view):
    return [view.key(i) for i in range(len(view))]


def test_joined_folders_are_divided_as_one(pictures):
    data = open_training_data(load_spec({"data": {"train": in_folders(pictures), "val_fraction": 0.25}}))
    assert (data.train.class_counts, data.val.class_counts) == ((14, 14), (4, 4))
    assert {key.split("/")[0] for key in view_keys(data.train)} == {"0", "1"}
    assert not set(view_keys(data.train)) & set(view_keys(data.val))


def test_what_a_folder_within_does_not_read_is_noted(tmp_path, pictures):
    for name in ("1.png", "notes.txt"):
        for shape in ("disc", "square"):
            path = tmp_path / "more" / shape / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((pictures / "val" / shape / "000.png").read_bytes())
    table = {"type": "repeat", "dataset": {"type": "folder", "root": str(tmp_path / "more")}}
    val = {"type": "folder", "root": str(pictures / "val")}
    data = open_training_data(load_spec({"data": {"train": table, "val": val}}))
    assert data.notes == [f"{tmp_path / 'more'}: not read, as no pictures: 2 .txt"]


def test_no_validation_pictures_are_split_off_from_repeated_ones(pictures):
    table = {"type": "repeat", "dataset": {"type": "folder", "root": str(pictures / "train")}}
    with pytest.raises(SpecError) as caught:
        open_training_data(load_spec({"data": {"train": table}}))
    assert caught.value.problems == [
        "spec: data.train: shows pictures several times, so none can be split off for validation -- "
        "write data.val, or divide the pictures first, with a kfold in it"
    ]


def test_one_table_of_folds_trains_validates_and_evaluates(tiny, pictures, tmp_path):
    """Balanced folds of joined folders, with transforms of transforms, from the spec to the checkpoint."""
    folds = {"type": "kfold", "folds": 3, "dataset": in_folders(pictures)}
    tiny["data"] = {"batch_size": 8, "num_workers": 0, "train": {"type": "repeat", "times": 2, "dataset": folds}}
    flip = [{"type": "random_horizontal_flip", "p": 1.0}]
    tiny["transforms"]["train"] += [
        {"type": "random_choice", "weights": [1, 2], "transforms": [
            {"type": "random_order", "transforms": [{"type": "random_vertical_flip"}, *flip]},
            {"type": "random_apply", "p": 0.5, "transforms": flip},
        ]},
    ]  # fmt: skip
    tiny["transforms"]["eval"] = [{"type": "random_apply", "p": 1.0, "transforms": flip}]
    tiny["train"]["epochs"] = 1
    seen = []
    for fold in range(3):
        sets = [f"data.train.dataset.fold={fold}"]
        data = open_training_data(load_spec(tiny, sets=sets))
        assert set(view_keys(data.train)) & set(view_keys(data.val)) == set()
        assert set(Counter(view_keys(data.train)).values()) == {2}
        seen += view_keys(data.val)
    assert len(seen) == len(set(seen)) == 36

    result = train(tiny, sets=["data.train.dataset.fold=2"], out=tmp_path / "run", device="cpu")
    for split, samples in (("val", 12), ("train", 48)):
        assert evaluate(result.checkpoint, split=split, device="cpu").as_json()["samples"] == samples
    picture = pictures / "val" / "disc" / "000.png"
    assert predict(picture, ckpt=result.checkpoint, device="cpu").top in ("disc", "square")


def test_a_folder_by_itself_is_not_wrapped(pictures):
    folder = Folder("train", root=Path(pictures / "train"))
    assert list(innermost(folder)) == [folder]
