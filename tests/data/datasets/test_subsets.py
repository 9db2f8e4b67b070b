"""Parts of data sets, folds, and rare classes shown more often."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from clscli.data.catalog import open_training_data
from clscli.data.datasets.subsets import ClassBalanced, KFold, Subset
from clscli.data.datasets.wrappers import Concat, Repeat
from clscli.data.samples import LabelSets, Sample
from clscli.errors import SpecError
from clscli.spec import load_spec


class Numbers:
    """Samples named by what they are: `a0`, `a1`, ..., `b0`, ..., mixed or in the order of the classes."""

    def __init__(self, *, mixed=False, **counts):
        self.classes = list(counts)
        samples = [
            (f"{name}{i}", self.classes.index(name)) for name, count in counts.items() for i in range(count)
        ]
        if mixed:
            samples.sort(key=lambda sample: (sample[0][1:], sample[0]))
        self.names = [name for name, _ in samples]
        self.targets = [target for _, target in samples]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return Sample(self.names[index].encode(), self.targets[index])

    def name(self, index):
        return self.names[index]


class Labelled(Numbers):
    """Samples of several labels each."""

    multi_label = True

    def __init__(self, classes, label_sets):
        self.classes = classes
        self.targets = LabelSets(label_sets)
        self.names = [str(i) for i in range(len(label_sets))]


def names(dataset):
    found = [dataset.name(i) for i in range(len(dataset))]
    assert [dataset[i].source.decode() for i in range(len(dataset))] == found
    assert [dataset[i].target for i in range(len(dataset))] == list(dataset.targets)
    return found


def message(function, *arguments, **options):
    with pytest.raises(ValueError, match=r".") as caught:
        function(*arguments, **options)
    return str(caught.value)


# Subset


def test_the_first_and_the_chosen():
    numbers = Numbers(a=3, b=2)
    assert names(Subset(dataset=numbers, first=4)) == ["a0", "a1", "a2", "b0"]
    assert names(Subset(dataset=numbers, first=40)) == ["a0", "a1", "a2", "b0", "b1"]
    chosen = Subset(dataset=numbers, indices=[4, 0, 4])
    assert names(chosen) == ["b1", "a0", "b1"]
    assert chosen.classes == ["a", "b"]
    assert chosen.repeats
    assert not Subset(dataset=numbers, indices=[4, 0]).repeats


def test_a_fraction_of_every_class():
    numbers = Numbers(a=40, b=10, c=1)
    part = Subset(dataset=numbers, fraction=0.3)
    assert Counter(name[0] for name in names(part)) == {"a": 12, "b": 3, "c": 1}
    assert names(part) == sorted(names(part), key=numbers.names.index)
    assert names(Subset(dataset=numbers, fraction=0.3)) == names(part)
    assert names(Subset(dataset=numbers, fraction=0.3, seed=1)) != names(part)
    assert set(names(part)) < set(names(Subset(dataset=numbers, fraction=0.6)))
    assert sorted(names(Subset(dataset=Numbers(mixed=True, a=40, b=10, c=1), fraction=0.3))) == sorted(names(part))


def test_a_fraction_of_all():
    labelled = Labelled(["a"], [(0,), ()] * 50)
    assert len(Subset(dataset=labelled, fraction=0.3, stratified=False)) == 30
    assert len(Subset(dataset=Numbers(a=1, b=9), fraction=0.01, stratified=False)) == 1
    assert len(Subset(dataset=Numbers(a=1, b=9), fraction=1.0)) == 10


def test_a_subset_is_asked_for_in_one_way():
    numbers = Numbers(a=3)
    assert message(Subset, dataset=numbers) == "give one of first, fraction and indices"
    assert message(Subset, dataset=numbers, first=1, indices=[0]) == "give one of first, fraction and indices"
    assert message(Subset, dataset=numbers, indices=[0, 3]) == (
        "indices must be below 3, the number of pictures, got 3"
    )


@pytest.mark.parametrize("make", [lambda d: Subset(dataset=d, fraction=0.5), lambda d: KFold("train", dataset=d)])
def test_pictures_without_labels_are_not_drawn_class_by_class(make):
    unlabelled = Numbers(a=9)
    unlabelled.classes, unlabelled.targets = [], [None] * 9
    assert message(make, unlabelled) == (
        "pictures without labels cannot be drawn class by class: set stratified = false"
    )


def test_pictures_with_several_labels_are_drawn_by_their_rarest():
    labelled = Labelled(["a", "b"], [(0,)] * 20 + [(0, 1)] * 10 + [()] * 10)
    part = Subset(dataset=labelled, fraction=0.3)
    assert Counter(part.targets) == {(0,): 6, (0, 1): 3, (): 3}


# Folds


def fold_names(split, dataset, **options):
    return names(KFold(split, dataset=dataset, **options))


def test_folds_divide_every_class():
    numbers = Numbers(mixed=True, a=11, b=7, c=2)
    everything = []
    for fold in range(4):
        val = fold_names("val", numbers, folds=4, fold=fold)
        train = fold_names("train", numbers, folds=4, fold=fold)
        assert sorted(val + train) == sorted(numbers.names)
        counts = Counter(name[0] for name in val)
        assert len(val) == 5
        assert counts["a"] in (2, 3)
        assert counts["b"] in (1, 2)
        assert counts["c"] in (0, 1)
        everything += val
    assert sorted(everything) == sorted(numbers.names)


def test_folds_depend_on_seed_and_names_only():
    numbers = Numbers(a=10, b=10)
    first = fold_names("val", numbers)
    assert first == fold_names("val", numbers)
    assert sorted(first) == sorted(fold_names("val", Numbers(mixed=True, a=10, b=10)))
    assert first != fold_names("val", numbers, seed=1)


def test_folds_of_what_has_no_single_class():
    labelled = Labelled(["a"], [(0,), ()] * 5)
    folds = [KFold("val", dataset=labelled, fold=fold, stratified=False) for fold in range(5)]
    assert sorted(name for fold in folds for name in (fold.name(i) for i in range(2))) == sorted(labelled.names)


@pytest.mark.parametrize(
    ("split", "dataset", "options", "text"),
    [
        ("test", Numbers(a=9), {}, "folds are for the splits 'train' and 'val', not for 'test'"),
        ("val", Numbers(a=9), {"fold": 5}, "fold must be below 5, the number of folds, got 5"),
        ("val", Numbers(a=3), {}, "3 pictures cannot be divided into 5 folds"),
        ("val", Repeat("train", dataset=Numbers(a=9)), {},
         "the data set shows pictures several times, in more than one fold -- divide it first"),
    ],
)  # fmt: skip
def test_what_cannot_be_folded(split, dataset, options, text):
    assert message(KFold, split, dataset=dataset, **options) == text


def test_folds_are_of_the_training_pictures():
    """Some data sets have other pictures for each split: the folds must be of the same ones."""
    table = {
        "type": "kfold",
        "folds": 10,
        "dataset": {"type": "digits", "num_train": 40, "num_val": 10, "size": 16},
    }
    data = open_training_data(load_spec({"data": {"train": table}}))
    assert (len(data.train), len(data.val)) == (36, 4)
    keys = [view.key(i) for view in (data.train, data.val) for i in range(len(view))]
    assert len(set(keys)) == 40


def test_a_part_that_does_not_divide_itself_leaves_the_whole_to_be_divided(pictures):
    folder = {"type": "folder", "root": str(pictures / "train")}
    folds = {"type": "kfold", "folds": 2, "dataset": {"type": "folder", "root": str(pictures / "val")}}
    table = {"type": "concat", "datasets": [folder, folds]}
    data = open_training_data(load_spec({"data": {"train": table, "val_fraction": 0.5}}))
    assert (len(data.train), len(data.val)) == (14, 16)  # of 24 pictures, and of 6 in the other fold
    assert data.parts is not None


def test_a_fold_that_is_none_is_told_where_it_is_written(pictures):
    table = {"type": "kfold", "dataset": {"type": "folder", "root": str(pictures / "train")}}
    with pytest.raises(SpecError) as caught:
        open_training_data(load_spec({"data": {"train": table}}, sets=["data.train.fold=7"]))
    assert caught.value.problems == [
        "spec: data.train: dataset 'kfold': fold must be below 5, the number of folds, got 7"
    ]


# Balance


def shown(dataset, **options):
    return Counter(names(ClassBalanced("train", dataset=dataset, **options)))


@pytest.mark.parametrize("mixed", [False, True])
def test_rare_classes_are_shown_as_often_as_published(mixed):
    numbers = Numbers(mixed=mixed, a=64, b=32, c=4)
    by_class = {name: [] for name in "abc"}
    for name, times in shown(numbers, threshold=0.64).items():
        by_class[name[0]].append(times)
    assert by_class["a"] == [1] * 64  # 0.64 / 0.64
    assert sum(by_class["b"]) == 45  # 32 * sqrt(0.64 / 0.32) = 45.25
    assert set(by_class["b"]) == {1, 2}
    assert by_class["c"] == [4] * 4  # sqrt(0.64 / 0.04)


def test_pictures_stay_in_their_order():
    numbers = Numbers(mixed=True, a=6, b=2)
    balanced = names(ClassBalanced("train", dataset=numbers))
    assert balanced == sorted(balanced, key=numbers.names.index)


def test_an_equal_share_is_the_threshold_by_default():
    # Of 18 pictures 2 are of class b: sqrt(0.5 / (1 / 9)) = 2.12 times each, together 4 times.
    counts = Counter(name[0] for name in shown(Numbers(a=16, b=2)).elements())
    assert counts == {"a": 16, "b": 4}


def test_a_picture_of_several_classes_counts_as_its_rarest():
    labelled = Labelled(["a", "b"], [(0,)] * 12 + [(0, 1)] + [()] * 3)
    balanced = ClassBalanced("train", dataset=labelled, threshold=0.25)
    times = Counter(balanced.name(i) for i in range(len(balanced)))
    assert times == {str(i): 2 if i == 12 else 1 for i in range(16)}  # sqrt(0.25 / (1 / 16))
    assert [balanced[i].target for i in (12, 13)] == [(0, 1), (0, 1)]


def test_validation_pictures_are_not_balanced():
    numbers = Numbers(a=16, b=2)
    balanced = ClassBalanced("val", dataset=numbers)
    assert names(balanced) == numbers.names
    assert not balanced.repeats
    assert ClassBalanced("train", dataset=numbers).repeats
    assert not ClassBalanced("train", dataset=Numbers(a=5, b=5)).repeats


def test_a_class_without_pictures_is_no_obstacle():
    numbers = Numbers(a=2, b=0)
    assert shown(numbers) == {"a0": 1, "a1": 1}


def test_no_labels_no_balance():
    bare = Numbers(a=2)
    bare.classes, bare.targets = [], [None, None]
    assert message(ClassBalanced, "train", dataset=bare) == "pictures without labels have no classes to balance"


def test_they_compose():
    numbers = Numbers(a=20, b=4)
    inner = Subset(dataset=Concat(datasets=[numbers, Numbers(c=8)]), fraction=0.5)
    outer = ClassBalanced("train", dataset=KFold("train", dataset=inner, folds=2))
    copy = pickle.loads(pickle.dumps(outer))
    assert [copy.name(i) for i in range(len(copy))] == [outer.name(i) for i in range(len(outer))]
    assert outer.classes == ["a", "b", "c"]
    assert Counter(outer.targets) == {0: 5, 1: 2, 2: 2}
