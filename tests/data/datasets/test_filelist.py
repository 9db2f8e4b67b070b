"""Lists of pictures in all their forms, and what is said about the lines that are wrong."""

import json
import os
from pathlib import Path

import pytest
import torch

import clscli as package
from clscli.data.datasets.filelist import filelist
from clscli.errors import DataError, SpecError

PAIRS = [("a/1.jpg", "cat"), ("a/2.jpg", "dog"), ("b c/3.jpg", "cat")]


@pytest.fixture
def listed(tmp_path):
    """Write a list into the test's folder and open it: `listed("a.txt", "content", **parameters)`."""

    def open_list(name: str, content: str, **parameters):
        Path(name).write_text(content, encoding="utf-8")
        return filelist(parameters.pop("split", "train"), path=name, **parameters)

    return open_list


def content_of(dataset) -> list:
    return [
        (dataset.name(i), dataset.classes[dataset[i].target] if dataset.classes else dataset[i].target)
        for i in range(len(dataset))
    ]


def message_of(listed, name: str, content: str, **parameters) -> str:
    with pytest.raises(DataError) as error:
        listed(name, content, **parameters)
    return str(error.value)


def test_lines_of_path_and_class_name_may_have_spaces_in_the_path(listed):
    dataset = listed("list.txt", "a/1.jpg cat\na/2.jpg   dog\n\n  b c/3.jpg cat  \n")
    assert content_of(dataset) == PAIRS
    assert dataset.classes == ["cat", "dog"]
    assert list(dataset.targets) == [0, 1, 0]


def test_tabs_let_class_names_have_spaces(listed):
    dataset = listed("list.txt", "a 1.jpg\tgreat auk\nb.jpg\tdodo\n")
    assert content_of(dataset) == [("a 1.jpg", "great auk"), ("b.jpg", "dodo")]


def test_indices_are_sorted_as_numbers_and_name_the_classes_themselves(listed):
    dataset = listed("list.txt", "a.jpg 10\nb.jpg 9\nc.jpg 2\n")
    assert dataset.classes == ["2", "9", "10"]
    assert list(dataset.targets) == [2, 1, 0]


@pytest.mark.parametrize("labels", [["dog", "cat"], ["1", "0"], ["dog", "0"]])
def test_with_given_classes_labels_are_names_or_indices(listed, labels):
    dataset = listed("list.txt", f"a.jpg {labels[0]}\nb.jpg {labels[1]}\n", classes=["cat", "dog"])
    assert list(dataset.targets) == [1, 0]


def test_a_class_whose_name_is_a_number_is_meant_by_it(listed):
    assert list(listed("list.txt", "a.jpg 1\nb.jpg 0\n", classes=["1", "0"]).targets) == [0, 1]


def test_classes_may_be_a_file(listed):
    Path("classes.txt").write_text("dog\n\ncat\n", encoding="utf-8-sig")
    dataset = listed("list.txt", "a.jpg cat\n", classes="classes.txt")
    assert dataset.classes == ["dog", "cat"]
    assert list(dataset.targets) == [1]


def test_pictures_are_beside_the_list_or_below_the_root(listed, tmp_path):
    Path("lists").mkdir()
    assert listed("lists/l.txt", "a/1.jpg cat\n")[0].source == str(Path("lists/a/1.jpg"))
    assert listed("lists/l.txt", "a/1.jpg cat\n", root="photos")[0].source == str(Path("photos/a/1.jpg"))
    absolute = tmp_path / "x" / "1.jpg"
    assert listed("lists/l.txt", f"{absolute} cat\n", root="photos")[0].source == str(absolute)


def test_a_list_from_windows_is_read_everywhere(listed):
    dataset = listed("list.txt", "a\\1.jpg cat\r\na\\2.jpg dog\r\n")
    assert content_of(dataset) == PAIRS[:2]


@pytest.mark.parametrize(("name", "separator"), [("list.csv", ","), ("list.tsv", "\t")])
def test_tables_with_known_columns(listed, name, separator):
    rows = [("path", "more", "label"), *((path, "x", label) for path, label in PAIRS)]
    dataset = listed(name, "\n".join(separator.join(row) for row in rows))
    assert content_of(dataset) == PAIRS


def test_excels_semicolons_and_spaces_after_the_commas_are_no_part_of_a_label(listed):
    assert content_of(listed("a.csv", "path;label\na/1.jpg;cat\na/2.jpg;dog\nb c/3.jpg;cat\n")) == PAIRS
    spaced = "path, label, split\na/1.jpg, cat, train\na/2.jpg, dog , train\nb c/3.jpg, cat, train\nx, y, val\n"
    assert content_of(listed("b.csv", spaced)) == PAIRS


def test_a_table_in_utf_16_is_refused_in_words():
    Path("list.csv").write_text("path,label\na.jpg,cat\n", encoding="utf-16")
    with pytest.raises(DataError) as error:
        filelist("train", path="list.csv")
    assert str(error.value) == "list.csv: is written in UTF-16 -- save it as UTF-8"


def test_tables_with_chosen_columns(listed):
    content = 'label,picture,kind\n"x","a, b/1.jpg",cat\ny,2.jpg,dog\n'
    dataset = listed("list.csv", content, path_column="picture", label_column="kind")
    assert content_of(dataset) == [("a, b/1.jpg", "cat"), ("2.jpg", "dog")]


def test_json_lines(listed):
    content = "\n".join(json.dumps({"file_name": path, "label": label}) for path, label in PAIRS)
    assert content_of(listed("list.jsonl", content)) == PAIRS


def test_mmpretrains_json(listed):
    samples = [{"img_path": path, "gt_label": index} for index, (path, _) in enumerate(PAIRS[:2])]
    content = json.dumps({"metainfo": {"classes": ["dog", "cat"]}, "data_list": samples})
    dataset = listed("list.json", content)
    assert content_of(dataset) == [("a/1.jpg", "dog"), ("a/2.jpg", "cat")]


def test_several_labels_in_a_column(listed):
    content = "path,labels\na.jpg,sea; sky\nb.jpg,\nc.jpg,sky\n"
    dataset = listed("list.csv", content, labels_column="labels", separator=";")
    assert dataset.multi_label
    assert dataset.classes == ["sea", "sky"]
    assert [dataset[i].target for i in range(3)] == [(0, 1), (), (1,)]


def test_several_labels_in_json(listed):
    samples = [{"img_path": "a.jpg", "gt_label": [0, 2]}, {"img_path": "b.jpg", "gt_label": []}]
    content = json.dumps({"metainfo": {"classes": ["x", "y", "z"]}, "data_list": samples})
    dataset = listed("list.json", content)
    assert dataset.multi_label
    assert list(dataset.targets) == [(0, 2), ()]


@pytest.mark.parametrize("content", ["a.jpg\nmy photo.PNG\n", "path\na.jpg\nmy photo.PNG\n"])
def test_a_list_without_labels(listed, content):
    dataset = listed("list.csv" if content.startswith("path") else "list.txt", content)
    assert dataset.classes == []
    assert content_of(dataset) == [("a.jpg", None), ("my photo.PNG", None)]


def test_the_column_split_chooses_the_lines(listed):
    content = "path,class,split\na.jpg,cat,train\nb.jpg,dog,val\nc.jpg,dog,train\nd.jpg,cat,valid\n"
    assert content_of(listed("split.csv", content)) == [("a.jpg", "cat"), ("c.jpg", "dog")]
    assert content_of(listed("split.csv", content, split="val")) == [("b.jpg", "dog"), ("d.jpg", "cat")]
    assert content_of(listed("split.csv", content, split="test", part="valid")) == [("d.jpg", "cat")]


@pytest.mark.parametrize(
    ("name", "content", "parameters", "message"),
    [
        ("l.txt", "a.jpg cat\nb.jpg\nc d.jpg\n", {}, "l.txt: line 2: no label; line 3: no label"),
        ("l.txt", "a.jpg\n\nb.jpg cat\n", {}, "l.txt: line 3: a label, where the lines before have none"),
        ("l.txt", "\n\n", {}, "l.txt: has no pictures in it"),
        ("l.txt", "a\0.jpg cat\n", {}, "l.txt: line 1: no path has a NUL in it -- is this a text file?"),
        (
            "l.txt",
            "a.jpg cat\nb.jpg dgo\nc.jpg 2\nd.jpg dgo\n",
            {"classes": ["cat", "dog"]},
            "l.txt: line 2: unknown class 'dgo', did you mean 'dog'?; line 3: no class 2, there are 2, from 0; "
            "line 4: unknown class 'dgo', did you mean 'dog'?",
        ),
        ("l.txt", "a.jpg cat\n", {"classes": []}, "classes: names no class"),
        ("l.txt", "a.jpg cat\n", {"classes": ["a", "b", "a"]}, "classes: names a class twice: 'a'"),
        (
            "l.txt",
            "a.jpg cat\n" + "b.jpg\n" * 12,
            {},
            "l.txt: " + "; ".join(f"line {n}: no label" for n in range(2, 12)) + "; and 2 more",
        ),
        (
            "l.csv",
            "picture,label\na.jpg,cat\n",
            {},
            "l.csv: has no column 'path' or 'img_path' or 'file_name', only picture, label "
            '-- name it: path_column = "..."',
        ),
        (
            "l.csv",
            "a.jpg,cat\nb.jpg,dog\n",
            {},
            "l.csv: line 1 is a picture, not the names of the columns -- write them above it, such as: path,label",
        ),
        (
            "l.csv",
            "path,label\na.jpg,cat\n",
            {"label_column": "kind"},
            "l.csv: has no column 'kind', only path, label",
        ),
        (
            "l.csv",
            "path,label\na.jpg,cat\nb.jpg\nc.jpg,dog,x\n,cat\nd.jpg,\n",
            {},
            "l.csv: line 3: too few columns for the 2 named; line 4: too many columns for the 2 named; "
            "line 5: no path; line 6: no label",
        ),
        (
            "l.csv",
            "path,label\na.jpg,cat\n",
            {"part": "val"},
            "l.csv: has no column 'split' to choose the part 'val' by",
        ),
        (
            "l.csv",
            "path,class,split\na.jpg,cat,train\n",
            {"split": "test"},
            "l.csv: has no pictures of the split 'test', only of train",
        ),
        (
            "l.jsonl",
            '{"path": "a.jpg", "label": "cat"}\n{"path": \n[1]\n{"path": "b.jpg"}\n'
            '{"path": "c.jpg", "label": 1.5}\n',
            {},
            "l.jsonl: line 2: is not JSON: Expecting value: line 2 column 1 (char 10); "
            "line 3: must be an object, got [1]; line 4: no label; line 5: a label must be a name or an index",
        ),
        (
            "l.jsonl",
            '{"path": "a.jpg", "label": "cat"}\n{"path": "b.jpg", "label": ["cat"]}\n',
            {},
            'l.jsonl: line 2: must have one label as the lines before, got ["cat"]',
        ),
        (
            "l.json",
            "{",
            {},
            "l.json: is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("l.json", '{"images": []}', {}, 'l.json: must hold {"data_list": [...]} or a list of objects'),
        (
            "l.json",
            '{"metainfo": {"classes": 3}, "data_list": []}',
            {},
            "l.json: metainfo.classes must be a list of names, got 3",
        ),
        ("l.json", '[{"path": "a.jpg"}, 3]', {}, "l.json: entry 2: must be an object, got 3"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(listed, name, content, parameters, message):
    assert message_of(listed, name, content, **parameters) == message


@pytest.mark.parametrize(
    ("name", "content", "parameters", "message"),
    [
        ("l.txt", "a.jpg cat\nb.jpg café\n", {}, r"l.txt: line 2: 'caf\xe9' is not UTF-8"),
        ("l.csv", "path,label\na.jpg,cat\n\nb.jpg,Ü\n", {}, r"l.csv: line 4: '\xdc' is not UTF-8"),
        ("l.tsv", "path\tlabel\na.jpg\té\n", {}, r"l.tsv: line 2: '\xe9' is not UTF-8"),
        ("l.csv", "path,label,split\na.jpg,cat,é\n", {}, r"l.csv: line 2: '\xe9' is not UTF-8"),
        (
            "l.csv",
            "path,größe\na.jpg,cat\n",
            {"label_column": "größe"},
            r"l.csv: line 1: 'gr\xf6\xdfe' is not UTF-8",
        ),
        (
            "l.csv",
            "path,labels\na.jpg,sea;café\n",
            {"labels_column": "labels", "separator": ";"},
            r"l.csv: line 2: 'sea;caf\xe9' is not UTF-8",
        ),
        (
            "l.jsonl",
            '{"path": "a.jpg", "label": "cat"}\n{"path": "b.jpg", "label": "é"}\n',
            {},
            r"l.jsonl: line 2: '\xe9' is not UTF-8",
        ),
        ("l.jsonl", '{"path": "a.jpg", "label": ["cat", "é"]}\n', {}, r"l.jsonl: line 1: '\xe9' is not UTF-8"),
        ("l.json", '[{"path": "a.jpg", "label": "é"}]', {}, r"l.json: entry 1: '\xe9' is not UTF-8"),
        (
            "l.json",
            '{"metainfo": {"classes": ["é"]}, "data_list": [{"img_path": "a.jpg", "gt_label": 0}]}',
            {},
            r"l.json: metainfo.classes: '\xe9' is not UTF-8",
        ),
    ],
)
def test_names_that_are_not_utf8_are_refused(name, content, parameters, message):
    Path(name).write_text(content, encoding="latin-1")
    with pytest.raises(DataError) as error:
        filelist("train", path=name, **parameters)
    assert str(error.value) == f"{message} -- save the file as UTF-8"


def test_a_file_of_classes_that_is_not_utf8_is_refused(listed):
    Path("classes.txt").write_bytes(b"cat\n\ncaf\xe9\n")
    assert message_of(listed, "l.txt", "a.jpg cat\n", classes="classes.txt") == (
        r"classes.txt: line 3: 'caf\xe9' is not UTF-8 -- save the file as UTF-8"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", b"caf\xe9 1.jpg \xc3\xa9\n"),
        ("l.csv", b"path,label,gr\xf6\xdfe\ncaf\xe9 1.jpg,\xc3\xa9,\xfc\n"),
        ("l.jsonl", b'{"path": "caf\xe9 1.jpg", "label": "\xc3\xa9"}\n'),
    ],
)
def test_a_path_may_have_any_bytes(name, content):
    Path(name).write_bytes(content)
    dataset = filelist("train", path=name)
    assert (os.fsencode(dataset.name(0)), dataset.classes) == (b"caf\xe9 1.jpg", ["é"])


def test_a_list_that_is_not_there():
    with pytest.raises(DataError) as error:
        filelist("train", path="gone.txt")
    assert str(error.value) == "gone.txt: no such file"


def test_training_on_a_list_and_again_on_the_split_that_the_run_saved(pictures, tiny, tmp_path):
    lines = [f"{shape}/{n:03}.png {shape}" for shape in ("disc", "square") for n in range(12)]
    Path("list.txt").write_text("\n".join(lines), encoding="utf-8")
    data = {"batch_size": 8, "num_workers": 0, "val_fraction": 0.25}
    root = str(pictures / "train")
    tiny["data"] = data | {"train": {"type": "filelist", "path": "list.txt", "root": root}}
    tiny["train"]["epochs"] = 1
    first = package.train(tiny, out=tmp_path / "run", device="cpu")
    saved = {"type": "filelist", "path": str(tmp_path / "run" / "split.csv"), "root": root}
    tiny["data"] = data | {"train": saved, "val": saved}
    again = package.train(tiny, out=tmp_path / "again", device="cpu")
    weights = [torch.load(run.checkpoint, weights_only=True)["weights"] for run in (first, again)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_training_and_validation_refuse_pictures_without_labels(tiny, pictures):
    message = (
        "the pictures have no labels, so nothing can be learnt from them or measured on them "
        "-- give each one its class; clscli predict works without"
    )
    Path("list.csv").write_text("path\ndisc/000.png\n", encoding="utf-8")
    table = {"type": "filelist", "path": "list.csv", "root": str(pictures / "train")}
    labelled = {"type": "folder", "root": str(pictures / "train")}
    for split, data in (("train", {"train": table}), ("val", {"train": labelled, "val": table})):
        tiny["data"] = data | {"num_workers": 0}
        with pytest.raises(SpecError) as error:
            package.train(tiny, out=Path("run"), device="cpu")
        assert str(error.value).endswith(f"data.{split}: {message}")
