"""From a spec's [data] to the pictures of a split."""

import logging
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from clscli.data.catalog import MANIFEST, open_split, open_training_data
from clscli.data.split import View, write_manifest
from clscli.engine.prepare import prepare
from clscli.errors import DataError, PluginError, SpecError
from clscli.spec import load_spec

TWO = ["disc", "square"]


@pytest.fixture
def photos(pictures, tmp_path) -> Path:
    """A copy of the small pictures, to be changed: train and val of disc and square."""
    return Path(shutil.copytree(pictures, tmp_path / "photos"))


def spec_of(**data):
    return load_spec({"data": data})


def keys(view: View) -> set[str]:
    return {view.key(i) for i in range(len(view))}


def problem(error: type[Exception], function, *arguments, **options) -> str:
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_a_root_with_train_and_val(pictures):
    data = open_training_data(spec_of(root=str(pictures)))
    assert data.classes == TWO
    assert (data.train.class_counts, data.val.class_counts) == ((12, 12), (6, 6))
    assert data.parts is None
    assert data.notes == []
    assert Path(data.val[0].source) == pictures / "val" / "disc" / "000.png"


def test_a_root_with_train_only_is_divided(photos):
    shutil.rmtree(photos / "val")
    data = open_training_data(spec_of(root=str(photos), val_fraction=0.25))
    assert (data.train.class_counts, data.val.class_counts) == ((9, 9), (3, 3))
    assert keys(data.train) | keys(data.val) == {f"{c}/{i:03}.png" for c in TWO for i in range(12)}
    assert len(data.parts) == 24


def test_one_tree_is_divided(photos):
    data = open_training_data(spec_of(root=str(photos / "train"), val_fraction=0.5))
    assert (data.train.class_counts, data.val.class_counts) == ((6, 6), (6, 6))
    assert not keys(data.train) & keys(data.val)


def test_the_seed_of_the_spec_divides(photos):
    spec = {"data": {"root": str(photos / "train")}}
    parts = (open_training_data(load_spec(spec | {"seed": seed})).parts for seed in (0, 0, 1))
    first, again, other = (part.tolist() for part in parts)
    assert first == again != other


def test_a_saved_division_is_used_again(photos, tmp_path):
    spec = spec_of(root=str(photos / "train"))
    run = tmp_path / "run"
    run.mkdir()
    first = open_training_data(spec)
    write_manifest(run / MANIFEST, first.train.dataset, 1 - first.parts)
    again = open_training_data(spec, run)
    assert (keys(again.train), keys(again.val)) == (keys(first.val), keys(first.train))
    for split, view in (("train", first.val), ("val", first.train)):
        assert keys(open_split(spec, split, TWO, run=run)) == keys(view)


def test_relative_roots_are_relative_to_the_spec(photos, tmp_path):
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "spec.toml").write_text('[data]\nroot = "../photos"\n')
    assert len(open_training_data(load_spec(tmp_path / "specs" / "spec.toml")).train) == 24


def problem_of_spec(tmp_path, text: str) -> str:
    (tmp_path / "spec.toml").write_text(text)
    return problem(SpecError, open_training_data, load_spec("spec.toml"))


def test_a_wrong_path_is_a_problem_of_its_line(tmp_path):
    expected = f"spec.toml:2: data.root: {tmp_path / 'none'}: no such folder"
    assert problem_of_spec(tmp_path, '[data]\nroot = "none"\n') == expected


def test_one_class_is_not_enough(photos, tmp_path):
    shutil.rmtree(photos / "train" / "square")
    expected = "spec.toml:2: data.root: found one class, 'disc' -- a classifier needs at least two"
    assert problem_of_spec(tmp_path, '[data]\nroot = "photos"\n') == expected


def test_no_pictures(tmp_path):
    (tmp_path / "photos").mkdir()
    assert problem_of_spec(tmp_path, '[data]\nroot = "photos"\n') == (
        f"spec.toml:2: data.root: {tmp_path / 'photos'}: "
        "no pictures in it -- expected one folder a class, with pictures in each"
    )


def test_a_root_without_training_pictures(photos, tmp_path):
    (photos / "train").rename(photos / "test")
    expected = f"spec.toml:2: data.root: {photos}: has the folder val and test, but no folder 'train'"
    assert problem_of_spec(tmp_path, '[data]\nroot = "photos"\n') == expected


def test_one_picture_a_class_cannot_be_divided(tmp_path, photos):
    for picture in (photos / "train").glob("*/*"):
        if picture.name != "000.png":
            picture.unlink()
    expected = (
        "spec.toml:2: data.root: too few pictures to split off validation pictures -- every class has only one"
    )
    assert problem_of_spec(tmp_path, '[data]\nroot = "photos/train"\n') == expected


def test_validation_classes_are_matched_by_name_not_by_number(photos):
    (photos / "val" / "disc").rename(photos / "val" / "0")
    (photos / "train" / "disc").rename(photos / "train" / "0")
    (photos / "train" / "00").mkdir()  # sorts between the two, and is not in val
    Image.new("RGB", (20, 20)).save(photos / "train" / "00" / "1.png")
    data = open_training_data(spec_of(root=str(photos)))
    assert data.classes == ["0", "00", "square"]
    assert data.val.class_counts == (6, 0, 6)
    assert {data.val[i].target for i in range(12) if "square" in data.val[i].source} == {2}
    assert data.notes == ["no validation pictures of: 00"]


def test_a_validation_class_that_training_lacks_is_an_error_that_names_it(photos, tmp_path):
    (photos / "val" / "square").rename(photos / "val" / "squares")
    assert problem_of_spec(tmp_path, '[data]\nroot = "photos"\n') == (
        "spec.toml:2: data.root: the validation pictures: has classes that the model does not know: "
        "'squares' (it knows 'disc', 'square')"
    )


def test_what_is_not_read_is_noted(photos):
    train = photos / "train"
    (photos / "raw").mkdir()
    (train / "disc" / "notes.txt").touch()
    Image.new("RGB", (2, 2)).save(train / "loose.png")
    (train / "empty").mkdir()
    assert open_training_data(spec_of(root=str(photos))).notes == [
        "not read, beside the split folders: raw",
        f"{train}: not read, as no pictures: 1 .txt",
        f"{train}: not read, as in no class folder: 1 picture",
        f"{train}: no pictures in empty: no class was made of it",
    ]


def folder(path: Path) -> dict:
    return {"type": "folder", "root": str(path)}


def test_the_long_form_with_folders(photos):
    data = open_training_data(spec_of(train=folder(photos / "train"), val=folder(photos / "val")))
    assert (data.train.class_counts, data.val.class_counts) == ((12, 12), (6, 6))
    assert data.parts is None


def test_the_long_form_without_val_is_divided(photos):
    data = open_training_data(spec_of(train=folder(photos / "train"), val_fraction=0.25))
    assert (data.train.class_counts, data.val.class_counts) == ((9, 9), (3, 3))


def test_the_long_form_with_digits():
    digits = {"type": "digits", "num_train": 20, "num_val": 10, "size": 16}
    data = open_training_data(spec_of(train=digits, val=digits))
    assert data.classes == list("0123456789")
    assert (data.train.class_counts, data.val.class_counts) == ((2,) * 10, (1,) * 10)
    assert data.train[0].source != data.val[0].source


LONG = '[data]\ntrain = {{ type = "folder", root = "{train}" }}\nval = {{ type = "folder", root = "{val}" }}\n'


@pytest.mark.parametrize(("split", "line"), [("train", 2), ("val", 3)])
def test_the_long_form_points_at_the_table_whose_folder_is_missing(photos, tmp_path, split, line):
    text = LONG.format(**{"train": "photos/train", "val": "photos/val", split: "none"})
    expected = f"spec.toml:{line}: data.{split}: {tmp_path / 'none'}: no such folder"
    assert problem_of_spec(tmp_path, text) == expected


def test_the_long_form_points_at_val_for_classes_that_are_unknown(photos, tmp_path):
    (photos / "val" / "disc").rename(photos / "val" / "ball")
    assert problem_of_spec(tmp_path, LONG.format(train="photos/train", val="photos/val")) == (
        "spec.toml:3: data.val: the validation pictures: has classes that the model does not know: "
        "'ball' (it knows 'disc', 'square')"
    )


def test_the_long_form_points_at_train_for_too_few_classes(photos, tmp_path):
    shutil.rmtree(photos / "train" / "disc")
    assert problem_of_spec(tmp_path, LONG.format(train="photos/train", val="photos/val")) == (
        "spec.toml:2: data.train: found one class, 'square' -- a classifier needs at least two"
    )


def imagenet(root: Path, **parameters) -> dict:
    return {"type": "imagenet", "root": str(root), **parameters}


def test_a_set_with_validation_pictures_of_its_own_is_not_divided(photos):
    spec = spec_of(train=imagenet(photos))
    data = open_training_data(spec)
    assert (data.train.class_counts, data.val.class_counts) == ((12, 12), (6, 6))
    assert data.parts is None
    assert data.notes == ["data.val is left out: validation uses the pictures that dataset 'imagenet' has for it"]
    assert Path(data.val[0].source) == photos / "val" / "disc" / "000.png"
    assert [len(open_split(spec, split, TWO)) for split in ("train", "val")] == [24, 12]


def test_a_part_that_is_asked_for_is_divided(photos):
    spec = spec_of(train=imagenet(photos, part="train"), val_fraction=0.25)
    data = open_training_data(spec)
    assert (data.train.class_counts, data.val.class_counts) == ((9, 9), (3, 3))
    assert data.notes == ["data.val is left out: 6 of the 24 training pictures are set aside for validation"]
    assert keys(data.train) | keys(data.val) == {f"{c}/{i:03}.png" for c in TWO for i in range(12)}


def test_all_that_a_wrapper_holds_must_have_validation_pictures(photos):
    def shown_by(*tables):
        return open_training_data(spec_of(train={"type": "concat", "datasets": list(tables)})).val

    assert shown_by(imagenet(photos), imagenet(photos)).class_counts == (12, 12)
    assert shown_by(imagenet(photos), folder(photos / "train")).class_counts == (5, 5)  # set aside: 0.2 of 24
    assert shown_by(imagenet(photos), imagenet(photos, part="train")).class_counts == (5, 5)


def test_a_run_that_was_divided_goes_on_so(photos, tmp_path):
    divided = open_training_data(spec_of(train=folder(photos / "train")))
    write_manifest(tmp_path / MANIFEST, divided.train.dataset, divided.parts)
    spec = spec_of(train=imagenet(photos))
    again = open_training_data(spec, tmp_path)
    assert (keys(again.train), keys(again.val)) == (keys(divided.train), keys(divided.val))
    assert again.train.class_counts == (10, 10)
    assert keys(open_split(spec, "val", TWO, run=tmp_path)) == keys(divided.val)


def test_a_list_with_lines_for_validation_is_not_divided(tmp_path):
    rows = [f"{i}.png,{'cat' if i % 2 else 'dog'},{'train' if i < 8 else 'valid'}" for i in range(12)]
    Path("list.csv").write_text("\n".join(["path,label,split", *rows]))
    table = {"type": "filelist", "path": "list.csv"}
    data = open_training_data(spec_of(train=table))
    assert (data.train.class_counts, data.val.class_counts) == ((4, 4), (2, 2))
    assert keys(data.val) == {"8.png", "9.png", "10.png", "11.png"}
    assert data.notes == ["data.val is left out: validation uses the pictures that dataset 'filelist' has for it"]
    part = open_training_data(spec_of(train=table | {"part": "train"}))
    assert (part.train.class_counts, part.val.class_counts) == ((3, 3), (1, 1))
    Path("list.csv").write_text("\n".join(["path,label,split", *rows]).replace("valid", "test"))
    assert len(open_training_data(spec_of(train=table)).train) == 6  # none are for validation


@pytest.mark.parametrize(("split", "num"), [("train", 24), ("val", 12)])
def test_a_split_of_the_specs_own_pictures(photos, split, num):
    short, long = spec_of(root=str(photos)), spec_of(train=folder(photos / "train"), val=folder(photos / "val"))
    for spec in (short, long):
        assert len(open_split(spec, split, TWO)) == num
    assert open_split(short, split, TWO[::-1]).targets[0] == 1


def test_the_test_split_of_the_specs_own_pictures(photos):
    shutil.copytree(photos / "val", photos / "test")
    for spec in (spec_of(root=str(photos)), spec_of(train=folder(photos / "train"), test=folder(photos / "test"))):
        assert Path(open_split(spec, "test", TWO)[0].source) == photos / "test" / "disc" / "000.png"


def test_splits_that_were_divided_are_those_of_training(photos):
    spec = spec_of(root=str(photos / "train"))
    data = open_training_data(spec)
    assert keys(open_split(spec, "val", TWO)) == keys(data.val)
    assert keys(open_split(spec, "train", TWO)) == keys(data.train)


def test_a_test_split_that_is_not_there(photos):
    expected = "the spec's data has no split 'test' -- give a folder: --data DIR"
    assert problem(DataError, open_split, spec_of(root=str(photos)), "test", TWO) == expected


@pytest.mark.parametrize(("split", "num"), [("train", 24), ("val", 12)])
def test_a_split_of_another_root(photos, split, num):
    spec = spec_of(root="not read")
    assert len(open_split(spec, split, TWO, root=photos)) == num
    assert len(open_split(spec, split, TWO, root=photos / split)) == num  # class folders: taken whole


def test_a_split_that_another_root_lacks(photos):
    expected = f"{photos}: has no pictures of the split 'test' -- there are: train, val"
    assert problem(DataError, open_split, spec_of(root="not read"), "test", TWO, root=photos) == expected


def test_a_root_of_other_classes(photos):
    assert problem(DataError, open_split, spec_of(root="x"), "val", ["disc", "cube"], root=photos) == (
        f"{photos}: has classes that the model does not know: 'square' (it knows 'disc', 'cube')"
    )


def test_a_split_with_classes_that_are_unknown(photos):
    spec = spec_of(root=str(photos))
    expected = "the split 'val': has classes that the model does not know: 'square' (it knows 'disc', 'cube')"
    assert problem(DataError, open_split, spec, "val", ["disc", "cube"]) == expected
    shutil.rmtree(photos / "val")  # the same of one that is divided
    assert problem(DataError, open_split, spec, "val", ["disc", "cube"]) == expected


def test_a_division_of_pictures_that_are_gone(photos, tmp_path):
    spec = spec_of(root=str(photos / "train"))
    data = open_training_data(spec)
    write_manifest(tmp_path / MANIFEST, data.train.dataset, data.parts)
    for name in TWO:
        (photos / "train" / name).rename(photos / "train" / f"{name}s")
    expected = "none of the pictures are left that training put into the split 'val'"
    assert problem(DataError, open_split, spec, "val", TWO, run=tmp_path) == expected


def break_pictures(paths) -> None:
    for path in paths:
        path.write_bytes(b"")


def test_bad_pictures_are_an_error_that_lists_them(photos, tiny):
    bad = [photos / "train" / "disc" / "004.png", photos / "val" / "square" / "001.png"]
    break_pictures(bad)
    tiny["data"]["root"] = str(photos)
    reason = "(not a picture, or of a format that cannot be read)"
    assert problem(DataError, prepare, load_spec(tiny)) == (
        f"2 of 36 pictures cannot be read: {bad[0]} {reason}, {bad[1]} {reason} "
        '-- mend or remove them, or set data.on_bad_image = "skip"'
    )


def test_of_many_bad_pictures_ten_are_listed(photos, tiny):
    break_pictures((photos / "train" / "disc").iterdir())
    tiny["data"]["root"] = str(photos)
    text = problem(DataError, prepare, load_spec(tiny))
    assert text.startswith("12 of 36 pictures cannot be read: ")
    assert text.count("(not a picture") == 10
    assert ", and 2 more -- mend" in text


def test_bad_pictures_are_skipped_if_the_spec_says_so(photos, tiny, caplog):
    caplog.set_level(logging.INFO, "clscli")
    bad = [photos / "train" / "disc" / "004.png", photos / "val" / "square" / "001.png"]
    break_pictures(bad)
    tiny["data"] |= {"root": str(photos), "on_bad_image": "skip"}
    data = prepare(load_spec(tiny)).data
    assert (data.train.class_counts, data.val.class_counts) == ((11, 12), (6, 5))
    assert "disc/004.png" not in keys(data.train)
    assert "square/001.png" not in keys(data.val)
    assert re.search(r"skipped: 2 of 36 pictures cannot be read: .*004\.png .*001\.png", caplog.text)


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ("train/disc", "no readable training pictures are left of: disc"),
        ("val", "no readable validation pictures are left"),
    ],
)
def test_skipping_never_leaves_a_class_or_split_without_pictures(photos, tiny, gone, expected):
    break_pictures((photos / gone).rglob("*.png"))
    tiny["data"] |= {"root": str(photos), "on_bad_image": "skip"}
    assert problem(DataError, prepare, load_spec(tiny)) == expected


ODD = """
class NoClasses:
    def __len__(self):
        return 4

class Numbered(NoClasses):
    classes = (1, 2)

class Endless:
    classes = ("a", "b")
"""


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "NoClasses",
            "it must have classes, a length and samples: AttributeError: "
            "'NoClasses' object has no attribute 'classes'",
        ),
        ("Numbered", "classes must be texts, not 1"),
        (
            "Endless",
            "it must have classes, a length and samples: TypeError: object of type 'Endless' has no len()",
        ),
    ],
)
def test_a_data_set_that_is_none_breaks_its_contract(packages, name, problem):
    packages.install("odd", {"datasets": {"odd": f"odd_sets:{name}"}}, modules={"odd_sets": ODD})
    with pytest.raises(PluginError) as caught:
        open_training_data(load_spec({"data": {"train": {"type": "odd"}}}))
    assert str(caught.value) == f"odd 1.0 (dataset 'odd') breaks its contract: {problem}"
