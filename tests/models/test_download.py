"""Downloads: checked, resumed, and with a message that helps when there is no network."""

import errno
import hashlib
import io
import logging
import random
import socket
import threading

import pytest
import torch
from local_server import serving

from clscli.errors import CheckpointError, WriteError
from clscli.models import download as module
from clscli.models.download import cached_file, digest_in, download

DATA = random.Random(0).randbytes(3_500_000)
SHA = hashlib.sha256(DATA).hexdigest()
NAME = f"w-{SHA[:8]}.pth"


@pytest.fixture
def serve():
    with serving() as serve:
        yield serve


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder that downloads go to, in this test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def put_part(cache, data):
    cache.mkdir(parents=True)
    (cache / f"{NAME}.part").write_bytes(data)


def test_a_file_is_fetched_once(serve, cache):
    url = f"{serve({NAME: DATA})}/{NAME}"
    assert download([url]) == cache / NAME
    assert (cache / NAME).read_bytes() == DATA
    assert [file.name for file in cache.iterdir()] == [NAME]
    download([url])
    assert serve.asked == [(f"/{NAME}", None)]


@pytest.mark.parametrize(
    ("has_ranges", "asked"),
    [(True, [None, "bytes=1000000-", "bytes=2000000-", "bytes=3000000-"]), (False, [None, "bytes=1000000-"])],
)
def test_a_cut_connection(serve, cache, has_ranges, asked):
    url = f"{serve({NAME: DATA}, has_ranges=has_ranges, cut_after=1_000_000)}/{NAME}"
    if has_ranges:
        assert download([url]).read_bytes() == DATA
    else:  # it would be cut at the same place for ever
        with pytest.raises(
            CheckpointError, match=r"cannot be downloaded: the connection was cut after 1\.0 MB -- "
        ):
            download([url])
        assert (cache / f"{NAME}.part").read_bytes() == DATA[:1_000_000]
    assert [wanted for _, wanted in serve.asked] == asked


def test_without_a_digest_halves_are_not_joined(serve, cache):
    url = f"{serve({'w.pth': DATA}, cut_after=1_000_000)}/w.pth"
    for _ in range(2):
        with pytest.raises(CheckpointError, match="the connection was cut"):
            download([url])
    assert [wanted for _, wanted in serve.asked] == [None, None]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_part_of_an_earlier_try_is_completed(serve, cache, has_ranges):
    put_part(cache, DATA[:3_000_000])
    assert download([f"{serve({NAME: DATA}, has_ranges=has_ranges)}/{NAME}"]).read_bytes() == DATA
    assert serve.asked == [(f"/{NAME}", "bytes=3000000-")]
    assert [file.name for file in cache.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (b"x" * 1_000_000, ["bytes=1000000-", None]),  # another file's
        (DATA + b"x", ["bytes=3500001-", None]),  # more than there is
    ],
)
def test_a_part_that_does_not_verify_is_fetched_again(serve, cache, part, asked):
    put_part(cache, part)
    assert download([f"{serve({NAME: DATA})}/{NAME}"]).read_bytes() == DATA
    assert [wanted for _, wanted in serve.asked] == asked


def test_a_file_with_another_hash_is_refused(serve, cache):
    url = f"{serve({'w-00000000.pth': DATA})}/w-00000000.pth"
    with pytest.raises(CheckpointError) as info:
        download([url])
    assert str(info.value) == (
        f"{url}: cannot be downloaded: its SHA-256 begins with {SHA[:8]}, not with 00000000 "
        f"-- without a network, put the file at {cache}/w-00000000.pth"
    )
    assert not (cache / "w-00000000.pth").exists()


def test_the_record_s_digest_counts(serve, cache):
    url = f"{serve({'model.bin': DATA})}/model.bin"
    assert download([url], SHA) == cache / f"model-{SHA[:8]}.bin"
    with pytest.raises(CheckpointError, match="its SHA-256 begins with"):
        download([url], "f" * 64)


def test_urls_are_tried_in_turn(serve, cache):
    base = serve({f"there/{NAME}": DATA})
    assert (
        download([f"http://127.0.0.1:9/{NAME}", f"{base}/gone/{NAME}", f"{base}/there/{NAME}"]).read_bytes()
        == DATA
    )
    with pytest.raises(CheckpointError) as info:
        download(["http://127.0.0.1:9/x.pth", f"{base}/x.pth", "ftp://host/x.pth"])
    assert str(info.value) == (
        "http://127.0.0.1:9/x.pth: cannot be downloaded: [Errno 111] Connection refused; "
        f"{base}/x.pth: cannot be downloaded: HTTP 404 Not Found; "
        "ftp://host/x.pth: cannot be downloaded: not a URL of http, https or file "
        f"-- without a network, put the file at {cached_file('http://127.0.0.1:9/x.pth', '')}"
    )


def test_a_file_put_into_the_cache_by_hand_needs_no_network(cache):
    file = cached_file("http://127.0.0.1:9/x.pth", "")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"here")
    assert download(["http://127.0.0.1:9/x.pth"]) == file


def test_a_server_that_says_nothing(cache, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.pth"
        with pytest.raises(CheckpointError, match=r"x\.pth: cannot be downloaded: timed out -- "):
            download([url])


class FullDisk(io.FileIO):
    """Take a million bytes, and then no more."""

    def write(self, data):
        if self.tell() + len(data) > 1_000_000:
            if self.tell() < 1_000_000:
                return super().write(data[: 1_000_000 - self.tell()])
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


class Interrupting:
    """Press Ctrl-C in the middle."""

    def begin(self, what, total, unit):
        self.arrived = 0

    def tick(self, amount):
        self.arrived += amount
        if self.arrived == 2:
            raise KeyboardInterrupt


def test_a_full_disk_keeps_what_has_arrived(serve, cache, monkeypatch):
    url = f"{serve({NAME: DATA})}/{NAME}"
    with monkeypatch.context() as patch:
        patch.setattr(module, "FileIO", FullDisk)
        with pytest.raises(WriteError) as info:
            download([url])
    assert str(info.value) == (
        f"{cache}/{NAME}.part: cannot be written: No space left on device "
        "-- what has arrived is kept, and the next try goes on from there"
    )
    assert download([url]).read_bytes() == DATA
    assert serve.asked[1] == (f"/{NAME}", "bytes=1000000-")


def test_ctrl_c_keeps_what_has_arrived(serve, cache):
    url = f"{serve({NAME: DATA})}/{NAME}"
    with pytest.raises(KeyboardInterrupt):
        download([url], progress=Interrupting())
    size = (cache / f"{NAME}.part").stat().st_size
    assert 2_000_000 <= size < 3_000_000
    assert download([url]).read_bytes() == DATA
    assert serve.asked[1] == (f"/{NAME}", f"bytes={size}-")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(WriteError, match=r"/w\.[0-9a-f]{8}\.pth\.part: cannot be written: Not a directory$"):
        download(["http://127.0.0.1:9/w.pth"])


def test_progress_is_told_in_megabytes(serve, cache, caplog):
    class Watch:
        def begin(self, *what):
            self.what, self.ticks = what, []

        def tick(self, amount):
            self.ticks.append(amount)

    watch = Watch()
    put_part(cache, DATA[:1_000_000])
    url = f"{serve({NAME: DATA})}/{NAME}"
    with caplog.at_level(logging.INFO, logger="clscli"):
        download([url], progress=watch)
    assert watch.what == (f"downloading {NAME}", 3, "MB")
    assert watch.ticks[0] == 1
    assert sum(watch.ticks) == 3
    assert caplog.messages == [f"downloading {url}, 3.5 MB (1.0 MB are here)"]


def test_two_at_once_fetch_it_once(serve, cache):
    url = f"{serve({NAME: DATA})}/{NAME}"
    found = []
    threads = [threading.Thread(target=lambda: found.append(download([url]).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 4
    assert len(serve.asked) == 1
    assert [file.name for file in cache.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("url", "sha256", "name"),
    [
        ("https://a/resnet18-f37072fd.pth", "f37072fd", "resnet18-f37072fd.pth"),
        ("https://a/resnet18-f37072fd.pth?download=true", "f37072fd00112233", "resnet18-f37072fd.pth"),
        ("https://a/model.safetensors", "f37072fd00112233", "model-f37072fd.safetensors"),
        ("https://a/model.safetensors", "", "model.9586018b.safetensors"),
        ("https://b/model.safetensors", "", "model.16315104.safetensors"),
        ("https://a/", "", "weights.ab986404"),
    ],
)
def test_names_in_the_cache(cache, url, sha256, name):
    assert cached_file(url, sha256) == cache / name


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("van-tiny_8xb128_in1k_20220501-385941af.pth", "385941af"),
        ("swin-tiny.pth", ""),
        ("a-12345678/b.pth", ""),
    ],
)
def test_the_digest_in_a_name(name, digest):
    assert digest_in(f"https://host/{name}") == digest


def test_torch_hub_s_files_are_found(cache):
    """What torch.hub has downloaded is not downloaded again."""
    cache.mkdir(parents=True)
    torch.save({"x": torch.ones(1)}, cache / "resnet18-f37072fd.pth")
    assert (
        download(["https://download.pytorch.org/models/resnet18-f37072fd.pth"]) == cache / "resnet18-f37072fd.pth"
    )
