"""Sets of faces from files in their own formats."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import clscli as package
from clscli.data.datasets.face_sets import celeba, fer2013, lfw_people
from clscli.data.samples import LabelSets
from clscli.errors import DataError
from clscli.testing import check_component


def draw(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


def error_of(open_set, *arguments, **parameters) -> str:
    with pytest.raises((DataError, ValueError)) as error:
        open_set(*arguments, **parameters)
    return str(error.value)


def pixels(value: int) -> str:
    return " ".join([str(value)] * (48 * 48))


def test_fer2013_in_one_file(tmp_path):
    path = tmp_path / "fer2013" / "fer2013.csv"
    path.parent.mkdir()
    usages = ("Training", "PublicTest", "PrivateTest", "Training")
    lines = [f"{emotion},{pixels(emotion)},{usage}" for emotion, usage in enumerate(usages, 3)]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    train = fer2013("train", root=tmp_path)
    assert train.classes == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert list(train.targets) == [3, 6]
    assert torch.equal(train[1].source, torch.full((1, 48, 48), 6, dtype=torch.uint8))
    assert list(fer2013("test", root=tmp_path).targets) == [4, 5]
    assert list(fer2013("val", part="public_test", root=tmp_path).targets) == [4]
    assert list(fer2013("test", part="private_test", root=tmp_path).targets) == [5]
    check_component("datasets", "fer2013", root=str(tmp_path))


def test_fer2013_in_kaggles_other_files(tmp_path):
    folder = tmp_path / "fer2013"
    folder.mkdir()
    (folder / "train.csv").write_text(f'emotion,pixels\n2,"{pixels(9)}"\n')
    assert list(fer2013("train", root=tmp_path).targets) == [2]
    (folder / "icml_face_data.csv").write_text(
        f"emotion, Usage, pixels\n0,Training,{pixels(7)}\n1,PrivateTest,{pixels(8)}\n"
    )
    assert (list(fer2013("train", root=tmp_path).targets), fer2013("test", root=tmp_path).images.max()) == ([0], 8)


def test_what_is_wrong_with_fer2013(tmp_path):
    folder = tmp_path / "fer2013"
    folder.mkdir()
    (folder / "train.csv").write_text(f"emotion,pixels\n2,{pixels(9)}\n2,1 2 3\n")
    message = (
        f"fer2013 is not in {tmp_path}: no fer2013/fer2013.csv -- get it by hand from https://www.kaggle.com/c/"
        "challenges-in-representation-learning-facial-expression-recognition-challenge; "
        f"{tmp_path} must hold fer2013/fer2013.csv or fer2013/icml_face_data.csv"
    )
    assert error_of(fer2013, "test", root=tmp_path) == message
    assert error_of(fer2013, "train", root=folder) == (
        message.replace(str(tmp_path), str(folder)) + " or fer2013/train.csv"
    )
    wrong = "must have an emotion from 0 to 6 and 2304 pixels from 0 to 255"
    assert error_of(fer2013, "train", root=tmp_path) == f"{folder / 'train.csv'}: line 3: {wrong}"
    for line in (f"7,{pixels(0)}", f"0,{pixels(256)}", "0", f"-1,{pixels(0)}"):
        (folder / "train.csv").write_text(f"emotion,pixels\n{line}\n")
        assert error_of(fer2013, "train", root=tmp_path) == f"{folder / 'train.csv'}: line 2: {wrong}"
    (folder / "fer2013.csv").write_text(f"emotion,pixels,Usage\n0,{pixels(0)},Training\n")
    assert error_of(fer2013, "test", root=tmp_path) == (
        f"{folder / 'fer2013.csv'}: has no pictures of the usage PublicTest or PrivateTest"
    )


@pytest.fixture
def people(tmp_path) -> Path:
    for name, count in (("Bob_Hope", 2), ("Ann_Lee", 1)):
        for number in range(1, count + 1):
            draw(tmp_path / "lfw-py" / "lfw_funneled" / name / f"{name}_{number:04}.jpg")
    (tmp_path / "lfw-py" / "peopleDevTrain.txt").write_text("2\nBob_Hope\t2\nAnn_Lee\t1\n")
    return tmp_path


def test_lfw_people(people):
    everybody = lfw_people("train", root=people)
    assert (everybody.classes, list(everybody.targets)) == (["Ann_Lee", "Bob_Hope"], [0, 1, 1])
    train = lfw_people("train", part="train", root=people)
    assert (train.classes, list(train.targets)) == (["Ann_Lee", "Bob_Hope"], [1, 1, 0])
    assert train.name(1) == "Bob_Hope/Bob_Hope_0002.jpg"
    assert [Path(train[i].source).is_file() for i in range(3)] == [True] * 3
    check_component("datasets", "lfw_people", root=str(people), part="train")


def test_what_is_missing_of_lfw_people(people):
    kaggle = "https://www.kaggle.com/datasets/jessicali9530/lfw-dataset"
    assert error_of(lfw_people, "train", variant="deepfunneled", root=people) == (
        f"lfw_people is not in {people}: no lfw-py/lfw-deepfunneled -- get it by hand from {kaggle}; "
        f"{people} must hold lfw-py/lfw-deepfunneled"
    )
    assert error_of(lfw_people, "train", part="test", root=people) == (
        f"lfw_people is not in {people}: no lfw-py/peopleDevTest.txt -- get it by hand from {kaggle}; "
        f"{people} must hold lfw-py/lfw_funneled and lfw-py/peopleDevTest.txt"
    )
    listed = people / "lfw-py" / "peopleDevTest.txt"
    listed.write_text("2\nBob_Hope\t2\nAnn_Lee\n")
    assert error_of(lfw_people, "train", part="test", root=people) == (
        f"{listed}: line 3: must be a name and a number, not 'Ann_Lee'"
    )


ATTRIBUTES = ["Bald", "Smiling", "Young"]


def write_celeba(root: Path, rows: list[tuple[str, str, int]]) -> Path:
    """Write pictures with their attributes, "1 -1 1", and the number of the part that each is in."""
    folder = root / "celeba"
    for name, _, _ in rows:
        draw(folder / "img_align_celeba" / name)
    lines = [str(len(rows)), " ".join(ATTRIBUTES) + " ", *(f"{name}  {values}" for name, values, _ in rows)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (folder / "list_eval_partition.txt").write_text("".join(f"{name} {part}\n" for name, _, part in rows))
    return root


ROWS = [
    ("000001.jpg", "-1  1  1", 0),
    ("000002.jpg", " 1 -1 -1", 1),
    ("000003.jpg", "-1 -1 -1", 0),
    ("000004.jpg", "-1  1 -1", 2),
]


def test_celeba_has_several_labels_for_each_picture(tmp_path):
    write_celeba(tmp_path, ROWS)
    train = celeba("train", root=tmp_path)
    assert (train.classes, train.multi_label, isinstance(train.targets, LabelSets)) == (ATTRIBUTES, True, True)
    assert [(train.name(i), train[i].target) for i in range(2)] == [("000001.jpg", (1, 2)), ("000003.jpg", ())]
    assert train[1].source == str(tmp_path / "celeba" / "img_align_celeba" / "000003.jpg")
    assert list(celeba("val", root=tmp_path).targets) == [(0,)]
    assert list(celeba("test", root=tmp_path).targets) == [(1,)]
    assert len(celeba("train", part="all", root=tmp_path)) == 4
    check_component("datasets", "celeba", root=str(tmp_path))


def test_what_is_wrong_with_celeba(tmp_path):
    write_celeba(tmp_path, ROWS)
    attributes, parts = (tmp_path / "celeba" / f"list_{name}.txt" for name in ("attr_celeba", "eval_partition"))
    with parts.open("a") as file:
        file.write("000005.jpg 1\n")
    assert error_of(celeba, "val", root=tmp_path) == (
        f"{attributes}: has no line of 000005.jpg, which list_eval_partition.txt names"
    )
    attributes.write_text("1\nBald Young\n000002.jpg 0 1\n")
    assert error_of(celeba, "val", root=tmp_path) == (
        f"{attributes}: line 3: must have 1 or -1 for each of 2 attributes"
    )
    attributes.unlink()
    assert error_of(celeba, "val", root=tmp_path, download=False) == (
        f"celeba is not in {tmp_path}, and download = false: no celeba/list_attr_celeba.txt -- {tmp_path} must "
        "hold celeba/list_attr_celeba.txt, celeba/list_eval_partition.txt and celeba/img_align_celeba"
    )


def test_training_on_celeba(tmp_path, tiny):
    rows = [(f"{i:06}.jpg", "1 -1  1" if i % 2 else "-1 1 -1", i % 3 // 2) for i in range(1, 25)]
    write_celeba(tmp_path, rows)
    table = {"type": "celeba", "root": str(tmp_path), "download": False}
    tiny["data"] = {"train": table, "val": table, "batch_size": 8, "num_workers": 0}
    tiny["transforms"] = {"train": [], "eval": []}
    tiny["model"].pop("head")
    tiny["train"]["epochs"] = 1
    result = package.train(tiny, out=tmp_path / "run", device="cpu")
    assert result.checkpoint.is_file()
