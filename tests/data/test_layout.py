"""Which folders of a root are splits."""

from pathlib import Path

import pytest

from clscli.data.layout import find_splits, other_folders


def tree(root: Path, *paths: str) -> Path:
    """Create folders, and files where a path has an extension."""
    for path in paths:
        at = root / path
        (at.parent if at.suffix else at).mkdir(parents=True, exist_ok=True)
        if at.suffix:
            at.touch()
    return root


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("train", "train"),
        ("train", "training"),
        ("val", "val"),
        ("val", "valid"),
        ("val", "validation"),
        ("test", "test"),
        ("test", "testing"),
    ],
)
@pytest.mark.parametrize("write", [str.lower, str.upper, str.title])
def test_each_name_that_people_give_is_known_in_any_case(tmp_path, split, name, write):
    tree(tmp_path, f"{write(name)}/cat/1.jpg")
    assert find_splits(tmp_path) == {split: tmp_path / write(name)}


def test_all_three_are_found_beside_each_other(tmp_path):
    tree(tmp_path, "train/cat/1.jpg", "validation/cat/1.jpg", "Test/cat/1.jpg", "notes/a.txt")
    splits = find_splits(tmp_path)
    assert splits == {"train": tmp_path / "train", "val": tmp_path / "validation", "test": tmp_path / "Test"}
    assert list(splits) == ["train", "val", "test"]


def test_of_two_names_for_one_split_the_first_is_taken_and_the_other_noted(tmp_path):
    tree(tmp_path, "train/cat/1.jpg", "val/cat/1.jpg", "valid/cat/1.jpg")
    splits = find_splits(tmp_path)
    assert splits["val"] == tmp_path / "val"
    assert other_folders(tmp_path, splits) == ["valid"]


def test_of_two_cases_of_one_name_the_lower_is_taken(tmp_path):
    for name in ("TRAIN", "Train", "train", "tRAIN"):
        tree(tmp_path, f"{name}/cat/1.jpg")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes them for one")
    assert find_splits(tmp_path) == {"train": tmp_path / "train"}


def test_a_class_called_train_is_no_split(tmp_path):
    tree(tmp_path, "train/1.jpg", "car/1.jpg", "plane/1.jpg")
    assert find_splits(tmp_path) == {}


def test_a_class_called_train_may_hold_a_hidden_folder(tmp_path):
    tree(tmp_path, "train/1.jpg", "train/.thumbs", "car/1.jpg")
    assert find_splits(tmp_path) == {}


def test_an_empty_split_folder_is_one_all_the_same(tmp_path):
    tree(tmp_path, "train/cat/1.jpg", "val")
    (tmp_path / "val" / ".DS_Store").touch()
    assert find_splits(tmp_path) == {"train": tmp_path / "train", "val": tmp_path / "val"}


def test_a_tree_of_classes_has_no_splits(tmp_path):
    assert find_splits(tree(tmp_path, "cat/1.jpg", "dog/1.jpg")) == {}


def test_a_file_called_train_is_no_split(tmp_path):
    (tmp_path / "train").touch()
    assert find_splits(tmp_path) == {}


def test_a_root_that_is_no_folder_has_no_splits(tmp_path):
    assert find_splits(tmp_path / "none") == {}
    (tmp_path / "file").touch()
    assert find_splits(tmp_path / "file") == {}


def test_other_folders_are_sorted_and_visible_ones_only(tmp_path):
    tree(tmp_path, "train/cat/1.jpg", "raw", "backup", ".cache", "readme.md")
    assert other_folders(tmp_path, find_splits(tmp_path)) == ["backup", "raw"]
