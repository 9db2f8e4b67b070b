"""Going on with a run whose pictures lie elsewhere by now."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import draw_folder

from clscli import train
from clscli.engine.checkpoint import load_checkpoint
from clscli.errors import Interrupted
from clscli.observer import Observer


class _StopInEpoch2(Observer):
    ticks = 0

    def begin(self, what, total, unit="images"):
        self.is_second = what.startswith("epoch 2")

    def tick(self, amount):
        if self.is_second and amount:
            raise Interrupted("the test")


def metrics(run: str) -> list[dict]:
    timed = ("seconds", "images_per_second", "data_wait")
    rows = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


@pytest.fixture
def divided(tiny, tmp_path) -> dict:
    """A spec of pictures that are divided by clscli, so that the saved division has to fit those elsewhere."""
    tiny["data"]["root"] = str(draw_folder(tmp_path / "photos", {"all": 12}) / "all")
    return tiny


def test_a_run_goes_on_where_its_pictures_are_now(divided, clscli):
    train(divided, out="whole", device="cpu")
    with pytest.raises(Interrupted):
        train(divided, out="run", device="cpu", observer=_StopInEpoch2())
    Path("photos").rename("elsewhere")
    lost = clscli("train", "--resume", "run", "--device", "cpu")
    assert lost.code == 2
    assert "no such folder" in lost.err
    done = clscli("train", "--resume", "run", "--data", "elsewhere/all", "--device", "cpu")
    assert done.code == 0, done.err
    assert "note: the pictures have changed" not in done.err
    assert metrics("run") == metrics("whole")
    assert load_checkpoint("run/last.pth").spec["data"]["root"] == str(Path("elsewhere/all").absolute())


def test_other_pictures_are_noticed(divided, clscli):
    with pytest.raises(Interrupted):
        train(divided, out="run", device="cpu", observer=_StopInEpoch2())
    shutil.copytree("photos", "more")
    for picture in list(Path("more/all/disc").iterdir())[:3]:
        picture.unlink()
    done = clscli("train", "--resume", "run", "--data", "more/all", "--device", "cpu")
    assert done.code == 0, done.err
    assert "note: the pictures have changed, so this is not the run that was stopped" in done.err


def test_a_run_of_other_data_sets_cannot_be_moved(tiny, pictures, clscli):
    del tiny["data"]["root"]
    for split in ("train", "val"):
        tiny["data"][split] = {"type": "folder", "root": str(pictures / split)}
    train(tiny | {"train": {"epochs": 1}}, out="run", device="cpu")
    done = clscli("train", "--resume", "run", "--data", "elsewhere", "--device", "cpu")
    assert (done.code, done.err) == (
        2,
        "--data elsewhere: the run's pictures are those of data.train, not of a folder data.root\n",
    )


def test_a_run_from_before_there_were_samplers_goes_on(tiny):
    train(tiny | {"train": {"epochs": 1}}, out="run", device="cpu")
    checkpoint = load_checkpoint("run/last.pth")
    for key in ("sampler", "check_headers"):
        del checkpoint.spec["data"][key]
    resolved = checkpoint.resolve()
    assert resolved.values["data"]["sampler"] == {"type": "shuffled"}
    assert resolved.spec.data.check_headers is True


def test_a_run_goes_on_with_pictures_at_a_url(divided, clscli):
    train(divided, out="whole", device="cpu")
    with pytest.raises(Interrupted):
        train(divided, out="run", device="cpu", observer=_StopInEpoch2())
    shutil.make_archive("photos", "zip", "photos")
    shutil.rmtree("photos")
    done = clscli("train", "--resume", "run", "--data", "zip://all::photos.zip", "--device", "cpu")
    assert done.code == 0, done.err
    assert metrics("run") == metrics("whole")
    assert load_checkpoint("run/last.pth").spec["data"]["root"] == "zip://all::photos.zip"
