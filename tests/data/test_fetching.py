"""Pictures on a network: several are fetched at once, and each stays with its label."""

from __future__ import annotations

import asyncio
import io
import tarfile

import fsspec
import pytest
import torch
from fsspec.asyn import AsyncFileSystem
from PIL import Image

from clscli.cache import cache_directory
from clscli.data.datasets.filelist import filelist
from clscli.data.datasets.webdataset import WebDataset
from clscli.data.loader import BatchLoader
from clscli.data.samples import Sample
from clscli.data.split import View
from clscli.data.transforms.geometry import Resize

FILES: dict[str, bytes] = {}


class Far(AsyncFileSystem):
    """Files that take a while to come; counts how many are on their way at once."""

    protocol = "far"
    cachable = False
    under_way = 0
    most = 0

    async def _cat_file(self, path, start=None, end=None, **kwargs):
        Far.under_way += 1
        Far.most = max(Far.most, Far.under_way)
        # The first to be asked for come last.
        await asyncio.sleep(0.05 / (1 + Far.under_way))
        Far.under_way -= 1
        if path not in FILES:
            raise FileNotFoundError(path)
        return FILES[path][start:end]

    async def _info(self, path, **kwargs):
        return {"name": path, "size": len(FILES[path]), "type": "file"}

    def _open(self, path, mode="rb", **kwargs):
        return io.BytesIO(FILES[path])


@pytest.fixture(autouse=True)
def _far(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path / "cache"))
    assert cache_directory().is_relative_to(tmp_path)
    fsspec.register_implementation("far", Far, clobber=True)
    Far.under_way = Far.most = 0
    yield
    FILES.clear()


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 6), (level, level, level)).save(file, "PNG")
    return file.getvalue()


def batches(dataset, num_workers=0):
    view = View(dataset, range(len(dataset)), list(dataset.classes))
    loader = BatchLoader(view, [Resize(size=6)], batch_size=16, seed=0, num_workers=num_workers)
    found = list(loader.epoch(0))
    loader.close()
    return found


def listed(tmp_path) -> str:
    """Write a list of 40 pictures of a level each, whose label is whether it is odd."""
    for number in range(40):
        FILES[f"photos/{number}.png"] = png(number)
    path = tmp_path / "list.txt"
    path.write_text("".join(f"far://photos/{number}.png {number % 2}\n" for number in range(40)))
    return str(path)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_pictures_of_a_batch_are_fetched_at_once(tmp_path, num_workers):
    found = batches(filelist("train", path=listed(tmp_path)), num_workers)
    for batch in found:
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
        assert torch.equal(batch.targets, batch.indices % 2)
    assert sorted(torch.cat([batch.indices for batch in found]).tolist()) == list(range(40))
    if not num_workers:  # else it is counted in the other process
        assert 8 <= Far.most <= 16


def test_one_that_is_gone_is_named_and_the_others_keep_their_labels(tmp_path):
    path = listed(tmp_path)
    del FILES["photos/7.png"], FILES["photos/8.png"]
    FILES["photos/9.png"] = b"no picture"
    found = batches(filelist("train", path=path))
    assert dict(sorted(bad for batch in found for bad in batch.unreadable)) == {
        7: "no such file",
        8: "no such file",
        9: "not a picture, or of a format that cannot be read",
    }
    assert all(torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices) for batch in found)


class Unknown:
    """Two pictures of a protocol that nobody knows, from a data set that does not look."""

    classes = ("a",)
    targets = (0, 0)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Sample(f"nosuch://{index}.png", 0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_protocol_that_nobody_knows_is_told_of_each_picture(num_workers):
    (batch,) = batches(Unknown(), num_workers)
    reason = "cannot be read: Protocol not known: nosuch"
    assert batch.unreadable == [(index, f"nosuch://{index}.png: {reason}") for index in range(2)]


def test_members_of_shards_are_fetched_at_once_and_nothing_else_of_them(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in range(32):
            for name, content in (
                (f"{number:02}.png", png(number)),
                (f"{number:02}.cls", str(number % 2).encode()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    FILES["shards/0.tar"] = file.getvalue()
    dataset = WebDataset("train", shards="far://shards/0.tar")
    FILES["shards/0.tar"] = bytes(512) + FILES["shards/0.tar"][512:]  # headers are not read again
    found = batches(dataset)
    assert 8 <= Far.most <= 16
    for batch in found:
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
        assert torch.equal(batch.targets, batch.indices % 2)
