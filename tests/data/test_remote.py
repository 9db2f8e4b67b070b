"""Pictures at URLs: every way in takes them, and says what is missing."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pytest

from clscli import evaluate
from clscli.data import remote
from clscli.data.datasets.filelist import filelist
from clscli.data.datasets.folder import Folder
from clscli.data.datasets.webdataset import WebDataset
from clscli.data.decode import UnreadableImageError, decode, fetched
from clscli.data.layout import find_splits
from clscli.errors import DataError
from clscli.locations import is_url
from clscli.spec import load_spec, render_spec


@pytest.fixture
def memory(pictures):
    """The small pictures below memory://photos."""
    filesystem = fsspec.filesystem("memory")
    for path in pictures.rglob("*.png"):
        filesystem.pipe_file(f"/photos/{path.relative_to(pictures).as_posix()}", path.read_bytes())
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


@pytest.fixture
def archive(pictures, tmp_path):
    """The small pictures in photos.zip, below inside/."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as file:
        for path in sorted(pictures.rglob("*.png")):
            file.write(path, f"inside/{path.relative_to(pictures).as_posix()}")
    return f"zip://inside::{(tmp_path / 'photos.zip').as_posix()}"


def error_of(call, *arguments, **parameters) -> str:
    with pytest.raises(DataError) as error:
        call(*arguments, **parameters)
    return str(error.value)


@pytest.mark.parametrize(
    ("root", "name", "joined"),
    [
        ("s3://b/x", "a/1.jpg", "s3://b/x/a/1.jpg"),
        ("s3://b/x/", "a.jpg", "s3://b/x/a.jpg"),
        ("zip://in::s3://b/x.zip", "a.jpg", "zip://in/a.jpg::s3://b/x.zip"),
        ("zip://::x.zip", "a.jpg", "zip://a.jpg::x.zip"),
        ("photos", "http://h/a.jpg", "http://h/a.jpg"),
    ],
)
def test_names_below_a_root(root, name, joined):
    assert remote.join(root, name) == joined


def test_the_folder_of_a_list():
    assert remote.parent("s3://b/x/list.txt") == "s3://b/x"
    assert remote.parent("zip://in/list.txt::s3://b/x.zip") == "zip://in::s3://b/x.zip"
    assert remote.parent("list.txt") == "."


def test_what_is_a_url():
    assert is_url("memory://x")
    assert not is_url("C:\\photos")
    assert not is_url("a/b")


def test_a_folder_at_a_url(memory, pictures):
    there, here = Folder("train", root="memory://photos/train"), Folder("train", root=pictures / "train")
    assert (there.classes, list(there.targets)) == (here.classes, list(here.targets))
    assert [there.name(i) for i in range(len(there))] == [here.name(i) for i in range(len(here))]
    assert there[13].source == "memory://photos/train/square/001.png"
    assert decode(there[13].source).equal(decode(here[13].source))


def test_a_folder_in_an_archive(archive, pictures):
    train = find_splits(archive)["train"]
    there, here = Folder("train", root=train), Folder("train", root=pictures / "train")
    assert [there.name(i) for i in range(len(there))] == [here.name(i) for i in range(len(here))]
    assert decode(there[5].source).equal(decode(here[5].source))


def test_a_list_at_a_url_is_beside_its_pictures(memory, pictures):
    memory.pipe_file("/photos/train/list.txt", b"disc/000.png disc\nmemory://photos/train/square/000.png square\n")
    dataset = filelist("train", path="memory://photos/train/list.txt")
    assert [dataset[i].source for i in range(2)] == [
        "memory://photos/train/disc/000.png",
        "memory://photos/train/square/000.png",
    ]
    assert decode(dataset[1].source).equal(decode(pictures / "train" / "square" / "000.png"))


def test_shards_at_a_url(memory, pictures):
    for number, name in enumerate(("disc", "square")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for member, data in (
                ("0.png", (pictures / "train" / name / "000.png").read_bytes()),
                ("0.cls", name.encode()),
            ):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        memory.pipe_file(f"/shards/t-{number}.tar", file.getvalue())
    for shards in ("memory://shards/t-{0..1}.tar", "memory://shards/*.tar"):
        dataset = WebDataset("train", shards=shards)
        assert [dataset.name(i) for i in range(2)] == ["t-0.tar/0.png", "t-1.tar/0.png"]
        assert fetched(dataset[1].source) == (pictures / "train" / "square" / "000.png").read_bytes()


def test_a_list_that_a_server_does_not_give(memory, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("403, message='Forbidden'")

    monkeypatch.setattr(memory, "_open", refuse)
    assert error_of(filelist, "train", path="memory://photos/list.txt") == (
        "memory://photos/list.txt: cannot be read: RuntimeError: 403, message='Forbidden'"
    )


def test_what_cannot_be_reached(memory, tmp_path):
    assert error_of(Folder, "train", root="memory://gone") == "memory://gone: no such folder"
    assert error_of(filelist, "train", path="memory://gone.txt") == "memory://gone.txt: no such file"
    assert error_of(WebDataset, "train", shards="memory://gone.tar") == "memory://gone.tar: no such file"
    assert error_of(Folder, "train", root="nope://x") == "nope://x: cannot be read: Protocol not known: nope"
    with pytest.raises(UnreadableImageError, match=r"^no such file$"):
        decode("memory://photos/gone.png")
    gone = (tmp_path / "gone.zip").as_posix()
    assert error_of(Folder, "train", root=f"zip://::{gone}") == f"zip://::{gone}: no such file: {gone}"


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [("s3://b/x", "s3fs", "s3fs"), ("gs://b/x", "gcsfs", "gcsfs"), ("http://h/x", "aiohttp", "aiohttp")],
)
def test_the_package_of_a_protocol_is_named_when_missing(monkeypatch, url, module, package):
    protocol = url.partition(":")[0]
    for name in [n for n in sys.modules if n == module or n.startswith("fsspec.implementations.http")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    Path("list.txt").write_text("a.jpg cat\n", encoding="utf-8")
    assert error_of(filelist, "train", path="list.txt", root=url) == (
        f"{url}: {protocol}:// needs a package that is not installed -- pip install {package}"
    )


def test_training_on_an_archive_by_workers_and_evaluating(archive, tiny, tmp_path, clscli):
    tiny["data"] = {"root": archive, "batch_size": 8, "num_workers": 2}
    tiny["train"]["epochs"] = 1
    (tmp_path / "tiny.toml").write_text(render_spec(tiny), encoding="utf-8")
    shown = clscli("train", "tiny.toml", "--out", tmp_path / "run", "--device", "cpu", "--json")
    assert shown.code == 0, shown.err
    assert load_spec(tmp_path / "run" / "spec.toml").values["data"]["root"] == archive
    shown = clscli("eval", "--ckpt", json.loads(shown.out)["checkpoint"], "--device", "cpu", "--json")
    assert (shown.code, json.loads(shown.out)["samples"]) == (0, 12)


def run_of(url, tiny, clscli, *options):
    """Train as `tiny` says, but on the pictures of a URL that only the command line names."""
    tiny["data"] = {"batch_size": 8, "num_workers": 0}
    tiny["train"]["epochs"] = 1
    Path("tiny.toml").write_text(render_spec(tiny), encoding="utf-8")
    return clscli("train", "tiny.toml", "--data", url, "--device", "cpu", "--json", *options)


@pytest.mark.usefixtures("memory")
def test_data_may_be_a_url_wherever_it_is_asked_for(tiny, clscli):
    done = run_of("memory://photos", tiny, clscli, "--out", "run")
    assert done.code == 0, done.err
    assert load_spec("run/spec.toml").values["data"]["root"] == "memory://photos"
    options = ("eval", "--ckpt", "run/best.pth", "--device", "cpu", "--json")
    own, whole, train = (
        clscli(*options, *data)
        for data in ((), ("--data", "memory://photos/val"), ("--data", "memory://photos", "--split", "train"))
    )
    assert json.loads(own.out)["samples"] == 12
    assert own.out == whole.out
    assert json.loads(train.out)["samples"] == 24
    assert evaluate("run/best.pth", data="memory://photos", device="cpu").as_json() == json.loads(own.out)
    shown = run_of("memory://photos", tiny, clscli, "--dry-run")
    assert [row["train"] for row in json.loads(shown.out)["data"]] == [12, 12]


def test_data_in_an_archive_is_checked_and_shown(archive, clscli, tiny):
    options = ("--set", "transforms.train.0.size=20", "--json")
    for arguments in ((archive,), ("demo", "--data", archive)):
        done = clscli("data", "check", *arguments, *options)
        found = json.loads(done.out)
        assert (done.code, found["splits"]["train"]["pictures"], found["splits"]["val"]["pictures"]) == (0, 24, 12)
    done = clscli("data", "show", archive, "--num", 1)
    assert (done.code, done.err) == (0, "wrote photos-samples.png\n")
    assert Path("photos-samples.png").is_file()


@pytest.mark.usefixtures("memory")
def test_a_url_of_no_pictures_is_an_error_in_words(tiny, clscli, trained):
    assert run_of("memory://gone", tiny, clscli) == (
        *(2, ""),
        "--data memory://gone: data.root: memory://gone: no such folder\n",
    )
    options = ("eval", "--ckpt", trained / "best.pth", "--device", "cpu")
    assert clscli(*options, "--data", "memory://gone") == (1, "", "memory://gone: no such folder\n")
    assert clscli(*options, "--data", "memory://photos", "--split", "test") == (
        *(1, ""),
        "memory://photos: has no pictures of the split 'test' -- there are: train, val\n",
    )
    done = clscli("data", "check", "memory://gone")
    problem = "problem: --data memory://gone: data.root: memory://gone: no such folder"
    assert (done.code, done.out) == (1, f"{problem}\n\n1 problem would stop a training\n")
    assert clscli("data", "check", "memory://gone", "--data", "b") == (
        *(2, ""),
        "memory://gone: is a folder, and --data b another -- give one of them\n",
    )


def test_a_local_path_never_imports_fsspec(pictures):
    code = (
        "import sys; from clscli.data.datasets.folder import Folder; from clscli.data.decode import read_encoded;"
        f"read_encoded(Folder('train', root={str(pictures / 'train')!r})[0].source);"
        "assert 'fsspec.implementations' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
