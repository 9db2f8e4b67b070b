"""Tar shards, LMDB and Hugging Face's formats: pictures that are not files of their own."""

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

import clscli as package
from clscli.data.datasets import tar_index
from clscli.data.datasets.tar_index import expand_braces
from clscli.data.datasets.webdataset import WebDataset
from clscli.data.decode import UnreadableImageError
from clscli.errors import DataError
from clscli.spec import render_spec


def encoded(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def write_tar(path: str, members: dict[str, bytes | str], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def error_of(open_set, *arguments, **parameters) -> str:
    with pytest.raises((DataError, ValueError)) as error:
        open_set(*arguments, **parameters)
    return str(error.value)


def listing(dataset) -> list[tuple[str, str]]:
    return [(dataset.name(i), dataset.classes[dataset[i].target]) for i in range(len(dataset))]


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{008..010}.tar", ["a-008.tar", "a-009.tar", "a-010.tar"]),
        ("{x,y}/{0..1}.tar", ["x/0.tar", "x/1.tar", "y/0.tar", "y/1.tar"]),
        ("s3://b/{a}.tar", ["s3://b/{a}.tar"]),
    ],
)
def test_braces_are_written_out_as_a_shell_does(pattern, paths):
    assert expand_braces(pattern) == paths


def test_shards_in_order_with_names_or_indices_as_labels():
    write_tar(
        "t-00.tar",
        {"x/0.png": encoded("red"), "x/0.cls": "dog", "x/0.txt": "...", "1.cls": "cat", "1.PNG": encoded()},
    )
    write_tar("t-01.tar", {"0.seg.png": b"", "0.png": encoded("blue"), "0.cls": "dog\n"})
    dataset = WebDataset("train", shards="t-{00..01}.tar")
    assert dataset.classes == ["cat", "dog"]
    assert listing(dataset) == [("t-00.tar/x/0.png", "dog"), ("t-00.tar/1.PNG", "cat"), ("t-01.tar/0.png", "dog")]
    assert [dataset[i].source for i in range(3)] == [encoded("red"), encoded(), encoded("blue")]
    assert listing(WebDataset("train", shards="t-*.tar")) == listing(dataset)
    write_tar("n.tar", {"0.png": encoded(), "0.cls": "1", "1.png": encoded(), "1.cls": "0"})
    assert listing(WebDataset("train", shards="n.tar", classes=["cat", "dog"])) == [
        ("n.tar/0.png", "dog"),
        ("n.tar/1.png", "cat"),
    ]


def test_labels_in_json():
    write_tar(
        "j.tar",
        {"0.jpg": encoded(), "0.json": json.dumps({"label": 3}), "1.jpg": encoded(), "1.json": '{"label": 10}'},
    )
    dataset = WebDataset("train", shards="j.tar", json_key="label")
    assert (dataset.classes, list(dataset.targets)) == (["3", "10"], [0, 1])


def test_headers_are_read_once_and_again_when_the_shard_changes(monkeypatch):
    write_tar("a.tar", {"0.png": encoded(), "0.cls": "dog"})
    read = []
    monkeypatch.setattr(
        tar_index, "_index", lambda *given, own=tar_index._index: read.append(given[0]) or own(*given)
    )
    first, again = (WebDataset("train", shards="a.tar") for _ in range(2))
    assert (read, listing(first)) == (["a.tar"], listing(again))
    write_tar("a.tar", {"0.png": encoded(), "0.cls": "cat", "1.png": encoded(), "1.cls": "dog"})
    assert listing(WebDataset("train", shards="a.tar")) == [("a.tar/0.png", "cat"), ("a.tar/1.png", "dog")]
    assert read == ["a.tar", "a.tar"]


def test_a_shard_that_vanishes_during_the_run_makes_its_pictures_unreadable():
    write_tar("a.tar", {"0.png": encoded(), "0.cls": "dog"})
    dataset = WebDataset("train", shards="a.tar")
    Path("a.tar").unlink()
    with pytest.raises(UnreadableImageError) as error:
        dataset[0]
    assert (
        str(error.value) == "a.tar cannot be read: FileNotFoundError: [Errno 2] No such file or directory: 'a.tar'"
    )


def test_what_is_wrong_with_shards():
    assert error_of(WebDataset, "train", shards="gone-*.tar") == "gone-*.tar: no such file"
    assert error_of(WebDataset, "train", shards="gone.tar") == "gone.tar: no such file"
    Path("text.tar").write_text("no tar at all")
    assert error_of(WebDataset, "train", shards="text.tar") == (
        "text.tar: is no tar file, or a damaged one: truncated header"
    )
    write_tar("z.tar", {"0.png": encoded(), "0.cls": "dog"}, "w:gz")
    assert error_of(WebDataset, "train", shards="z.tar") == (
        "z.tar: is compressed with gzip, so no picture can be read by itself -- unpack it to a .tar"
    )
    write_tar("a.tar", {"0.png": encoded(), "1.png": encoded()})
    assert error_of(WebDataset, "train", shards="a.tar") == (
        "a.tar: no label for 0.png and 1 more -- expected 0.cls"
    )
    write_tar("a.tar", {"0.png": encoded(), "0.jpg": encoded(), "0.cls": "dog"})
    assert error_of(WebDataset, "train", shards="a.tar") == "a.tar: two pictures of one name: 0.png and 0.jpg"
    write_tar("a.tar", {"0.txt": "x"})
    assert error_of(WebDataset, "train", shards="a.tar") == (
        "a.tar: no pictures in it -- expected members like 0001.jpg and 0001.cls"
    )
    write_tar("a.tar", {"0.png": encoded(), "0.cls": "dgo"})
    assert error_of(WebDataset, "train", shards="a.tar", classes=["cat", "dog"]) == (
        "a.tar/0.png: unknown class 'dgo', did you mean 'dog'?"
    )
    for text, message in {
        "{": "is not JSON",
        "{}": "has no key 'label'",
        "[]": "has no key 'label'",
        '{"label": 1.5}': "'label' must be a class's name or index",
    }.items():
        write_tar("a.tar", {"0.png": encoded(), "0.json": text})
        assert error_of(WebDataset, "train", shards="a.tar", json_key="label") == f"a.tar: 0.json: {message}"


@pytest.fixture
def shards(pictures, tmp_path) -> Path:
    """The small pictures as shards: train-0.tar, train-1.tar and val-0.tar."""
    for split in ("train", "val"):
        members: list[dict[str, bytes | str]] = [{}, {}]
        for number, path in enumerate(sorted((pictures / split).rglob("*.png"))):
            member = members[number % 2 if split == "train" else 0]
            member |= {f"{number:03}.png": path.read_bytes(), f"{number:03}.cls": path.parent.name}
        for number, content in enumerate(members):
            if content:
                write_tar(str(tmp_path / f"{split}-{number}.tar"), content)
    return tmp_path


def test_training_on_shards_by_workers_and_paths_relative_to_the_spec(shards, tiny, tmp_path, clscli, monkeypatch):
    tiny["data"] = {
        "train": {"type": "webdataset", "shards": "train-{0..1}.tar"},
        "val": {"type": "webdataset", "shards": ["val-*.tar"]},
        "batch_size": 8,
        "num_workers": 2,
    }
    tiny["train"]["epochs"] = 1
    (tmp_path / "tiny.toml").write_text(render_spec(tiny), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shown = clscli("train", tmp_path / "tiny.toml", "--out", tmp_path / "run", "--device", "cpu", "--json")
    assert shown.code == 0, shown.err
    checkpoint = json.loads(shown.out)["checkpoint"]
    shown = clscli("eval", "--ckpt", checkpoint, "--device", "cpu", "--json")
    assert json.loads(shown.out)["samples"] == 12


def write_lmdb(path: Path, content: dict[str, bytes]) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), map_size=1 << 22) as database, database.begin(write=True) as transaction:
        for key, value in content.items():
            transaction.put(key.encode(), value)


def test_lmdb_by_keys_with_classes_or_by_a_list(tmp_path):
    from clscli.data.datasets.lmdb import LMDB

    write_lmdb(tmp_path / "db", {"b/cat/1": encoded("red"), "a/dog/2": encoded("blue"), "b/cat/3": b"broken"})
    dataset = LMDB("train", path=tmp_path / "db")
    assert listing(dataset) == [("a/dog/2", "a/dog"), ("b/cat/1", "b/cat"), ("b/cat/3", "b/cat")]
    assert dataset[1].source == encoded("red")
    Path("keys.txt").write_text("b/cat/1 dog\na/dog/2 cat\nnone cat\n")
    dataset = LMDB("train", path=tmp_path / "db", keys="keys.txt")
    assert [dataset.classes[target] for target in dataset.targets] == ["dog", "cat", "cat"]
    with pytest.raises(UnreadableImageError, match=r"db has no such key$"):
        dataset[2]


def test_what_is_wrong_with_lmdb(tmp_path):
    from clscli.data.datasets.lmdb import LMDB

    pytest.importorskip("lmdb")
    assert error_of(LMDB, "train", path=tmp_path / "gone") == f"{tmp_path / 'gone'}: no such file or folder"
    (tmp_path / "empty").mkdir()
    assert error_of(LMDB, "train", path=tmp_path / "empty").startswith(
        f"{tmp_path / 'empty'}: is no LMDB database, or a damaged one: "
    )
    write_lmdb(tmp_path / "db", {"1": b""})
    assert error_of(LMDB, "train", path=tmp_path / "db") == (
        f"{tmp_path / 'db'}: the key '1' is not class/name -- give a list with labels: keys = \"...\""
    )
    write_lmdb(tmp_path / "none", {})
    assert error_of(LMDB, "train", path=tmp_path / "none") == f"{tmp_path / 'none'}: no pictures in it"


def test_training_on_lmdb_by_workers(pictures, tiny, tmp_path):
    content = {
        f"{path.parent.name}/{path.name}": path.read_bytes() for path in (pictures / "train").rglob("*.png")
    }
    write_lmdb(tmp_path / "db", content)
    tiny["data"] = {"train": {"type": "lmdb", "path": str(tmp_path / "db")}, "batch_size": 8, "num_workers": 2}
    tiny["train"]["epochs"] = 1
    package.train(tiny, out=tmp_path / "run", device="cpu")
    names = (tmp_path / "run" / "split.csv").read_text().splitlines()
    assert (len(names), names[1].split(",")[:2]) == (25, ["disc/000.png", "disc"])


@pytest.fixture
def hugging(monkeypatch, tmp_path):
    """Hugging Face's package, with a cache of the test's own and no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return pytest.importorskip("datasets")


def write_parquet(datasets, path: Path, labels: list, **features) -> None:
    column = datasets.Image()
    rows = {"img": [{"bytes": encoded(), "path": None} for _ in labels], "kind": labels}
    schema = datasets.Features({"img": column, **features}) if features else None
    table = datasets.Dataset.from_dict(rows, features=schema)
    table = table if schema else table.cast_column("img", column)
    table.to_parquet(str(path))


@pytest.mark.filterwarnings("ignore")  # of the package's own
def test_hugging_face_parquet_with_class_names(hugging, tmp_path):
    from clscli.data.datasets.huggingface import HuggingFace

    path = tmp_path / "p.parquet"
    write_parquet(hugging, path, [1, 0, 1], kind=hugging.ClassLabel(names=["cat", "dog"]))
    dataset = HuggingFace("train", name=str(path))
    assert (dataset.classes, list(dataset.targets), dataset[1].source) == (["cat", "dog"], [1, 0, 1], encoded())
    assert error_of(HuggingFace, "val", name=str(path)) == (
        f"{path}: has no split 'validation', only train -- choose: part = \"...\""
    )
    assert error_of(HuggingFace, "train", name=str(path), label_column="label") == (
        f"{path}: no column 'label' of labels among img (Image), kind (ClassLabel) "
        '-- name it: label_column = "..."'
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("labels", "found"), [([0.0, 1.0], "0.0"), ([None, "cat"], "None")])
def test_hugging_face_labels_that_are_no_classes(hugging, tmp_path, labels, found):
    from clscli.data.datasets.huggingface import HuggingFace

    path = tmp_path / "p.parquet"
    write_parquet(hugging, path, labels)
    assert error_of(HuggingFace, "train", name=str(path), label_column="kind") == (
        f"{path}: the column 'kind' must hold a class each, not {found}"
    )


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_folder_and_columns_of_plain_names(hugging, tmp_path, pictures):
    from clscli.data.datasets.huggingface import HuggingFace

    path = tmp_path / "p.parquet"
    write_parquet(hugging, path, ["dog", "cat"])
    dataset = HuggingFace("train", name=str(path), label_column="kind")
    assert (dataset.classes, list(dataset.targets)) == (["cat", "dog"], [1, 0])
    folder = HuggingFace("val", name=str(pictures))
    assert (folder.classes, len(folder)) == (["disc", "square"], 12)
    message = error_of(HuggingFace, "train", name="nobody/has-this")
    assert message.startswith("nobody/has-this: cannot be opened as a data set of Hugging Face: ")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["lmdb", "datasets"])
def test_a_missing_package_is_named(monkeypatch, name, tmp_path):
    from clscli.data.datasets.huggingface import HuggingFace
    from clscli.data.datasets.lmdb import LMDB

    monkeypatch.setitem(sys.modules, name, None)
    if name == "lmdb":
        assert (
            error_of(LMDB, "train", path=tmp_path)
            == "lmdb needs a package that is not installed -- pip install lmdb"
        )
    else:
        assert error_of(HuggingFace, "train", name="x") == (
            "huggingface needs a package that is not installed -- pip install datasets"
        )
