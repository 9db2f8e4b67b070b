"""`clscli init`: from a folder of pictures to a spec that trains."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from conftest import draw_folder, draw_picture

from clscli import __version__, new_spec
from clscli.cli import schema
from clscli.cli.options import complete_backbone
from clscli.plugins import find_components

MOBILENET = "mobilenet_v3_large-5c1a4163.pth"


@pytest.fixture(autouse=True)
def _one_machine(monkeypatch, tmp_path):
    """Let every machine be one without a GPU and without weights; and the schema be small."""
    monkeypatch.setattr(new_spec, "choose_device", lambda name: torch.device("cpu"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(schema, "find_components", lambda: find_components("heads"))


@pytest.fixture
def photos(pictures, tmp_path) -> Path:
    """A copy of the small pictures, to be changed: train and val of disc and square."""
    shutil.copytree(pictures, tmp_path / "photos")
    return Path("photos")


@pytest.fixture
def large(tmp_path) -> Path:
    """Pictures that are not small, without val."""
    return draw_folder(tmp_path / "large", {"train": 5}, size=70).relative_to(tmp_path)


def spec_of(done, file="spec.toml"):
    assert done.code == 0, done.err
    return tomllib.loads(Path(file).read_text(encoding="utf-8"))


def test_a_spec_for_small_pictures(clscli, photos):
    done = clscli("init", "photos")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "found 24 training and 12 validation pictures of 2 classes, 12 of each; shorter side 20 pixels",
        f"importing {len(find_components('heads'))} components ...",
        "wrote clscli.schema.json -- for a spec beside it, whose first line is: #:schema ./clscli.schema.json",
        "wrote spec.toml: resnet18, from nothing, in 100 epochs with batches of 8",
        "next: clscli train spec.toml",
    ]
    written_by = f"# Written by clscli {__version__}. What is not here has its default"
    assert Path("spec.toml").read_text(encoding="utf-8") == (
        f"""#:schema ./clscli.schema.json
# A start for 24 training and 12 validation pictures of 2 classes, 12 of each; shorter side 20 pixels.
{written_by}, or is as the backbone's weights want it: all of
# it is shown by clscli train spec.toml --dry-run

[data]
# Relative to this file.
root = "photos"
# 3 steps an epoch: larger batches would leave too few.
batch_size = 8

[transforms]
# Moved by an eighth, as in He et al., 2015, section 4.2.
train = [
    {{ type = "random_crop", size = 20, padding = 2 }},
    {{ type = "random_horizontal_flip" }},
]
# All pictures have 20 x 20 pixels, and are taken as they are.
eval = []

[model.backbone]
# The usual first network for small pictures. With so few, a backbone that knows ImageNet makes more of them,
# enlarged to its size, but takes far more time: clscli init --backbone convnext_tiny
type = "resnet18"
# A first layer in which 20 pixels stay as many (He et al., 2015, section 4.2); ImageNet's leaves a quarter of
# them.
stem = "cifar"
# Half the depth, in half the time, as there is no GPU here. With one: [2, 2, 2, 2].
layers = [1, 1, 1, 1]

[optimizer]
# As for ResNets on CIFAR (He et al., 2015, section 4.2).
type = "sgd"
# 0.1 for a batch of 128, in proportion (Goyal et al., 2017).
lr = 0.00625
# As there.
momentum = 0.9
# As in Zagoruyko and Komodakis, Wide Residual Networks, 2016, with a larger decay than before them.
nesterov = true
# As there.
weight_decay = 0.0005

[train]
# 24 training pictures, and nothing known before: twice as many give a little more.
epochs = 100
"""
    )
    assert json.loads(Path("clscli.schema.json").read_text())["title"] == "clscli spec"


def test_what_it_writes_trains(clscli, photos):
    spec_of(clscli("init", "photos"))
    small = ["train.epochs=1", "model.backbone.base_channels=4", "train.precision=float32", "data.num_workers=0"]
    sets = [part for one in small for part in ("--set", one)]
    done = clscli("train", "spec.toml", *sets, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["last"]["epoch"] == 1


def test_a_spec_for_photos_is_a_fine_tuning(clscli, large, tmp_path):
    values = spec_of(clscli("init", "large"))
    assert values == {
        "data": {"root": "large", "val_fraction": 0.2, "batch_size": 8},
        "model": {"backbone": {"type": "mobilenet_v3_large", "pretrained": True, "frozen_stages": 2}},
        "optimizer": {"type": "adamw", "lr": 1e-4, "groups": {"head_lr": 10.0, "layer_decay": 0.8}},
        "train": {"epochs": 50, "freeze_epochs": 2},
    }
    place = tmp_path / "torch/hub/checkpoints" / MOBILENET
    words = Path("spec.toml").read_text(encoding="utf-8").replace("\n# ", " ")
    assert f"put https://download.pytorch.org/models/{MOBILENET} at {place} yourself" in words
    done = clscli("train", "spec.toml", "--dry-run", "--json", "--device", "cpu")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [(row["class"], row["train"], row["val"]) for row in found["data"]] == [
        ("disc", 4, 1),
        ("square", 4, 1),
    ]
    assert found["trained_parameters"] < found["parameters"]


def test_weights_that_are_here_are_said_to_be(clscli, large, tmp_path):
    place = tmp_path / "torch/hub/checkpoints" / MOBILENET
    place.parent.mkdir(parents=True)
    place.touch()
    assert clscli("init", "large").code == 0
    assert "licence BSD-3-Clause: on this machine already." in Path("spec.toml").read_text(encoding="utf-8")


def test_a_place_for_weights_below_the_user_s_own_folder_is_shortened(clscli, large, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert clscli("init", "large").code == 0
    assert f"at\n# ~/torch/hub/checkpoints/{MOBILENET} " in Path("spec.toml").read_text(encoding="utf-8")


def test_a_backbone_of_one_s_own_choice(clscli, photos):
    values = spec_of(clscli("init", "photos", "--backbone", "lenet5"))
    assert values["model"] == {"backbone": {"type": "lenet5"}}
    assert values["transforms"]["eval"] == [{"type": "resize", "size": 32, "mode": "crop"}]
    whole = spec_of(clscli("init", "photos", "--backbone", "resnet34", "--out", "b.toml"), "b.toml")
    assert whole["model"] == {"backbone": {"type": "resnet34", "stem": "cifar"}}


def test_what_cannot_be_read_is_skipped(clscli, photos):
    Path("photos/train/disc/bad.png").write_bytes(b"")
    done = clscli("init", "photos")
    assert spec_of(done)["data"]["on_bad_image"] == "skip"
    assert done.err.startswith("skipped: 1 of 37 pictures cannot be read: ")
    assert "\n# Pictures that cannot be read, as 1 here, would stop the run." in Path("spec.toml").read_text()


def test_the_folder_is_named_relative_to_the_spec(clscli, photos):
    Path("specs").mkdir()
    assert (
        spec_of(clscli("init", "photos", "--out", "specs/a.toml"), "specs/a.toml")["data"]["root"] == "../photos"
    )
    assert Path("specs/clscli.schema.json").is_file()


def test_the_working_directory_with_split_folders(clscli, photos, monkeypatch):
    monkeypatch.chdir("photos")
    assert spec_of(clscli("init"))["data"]["root"] == "."


def test_pictures_among_which_runs_would_lie_are_refused(clscli, photos, monkeypatch):
    reason = (
        "is read as one tree of class folders, and runs would be saved in it, and become classes "
        "-- give the folder of the pictures alone: clscli init photos\n"
    )
    assert clscli("init") == (2, "", f".: {reason}")
    monkeypatch.chdir("photos/train")
    assert clscli("init", "..") == (2, "", f"..: {reason}")
    assert list(Path().glob("*.*")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["file"], "file: is not a folder"),
        (["photos", "--out", "old.toml"], "old.toml: exists already, and nothing is overwritten -- give another "
         "file with --out"),
        (["photos", "--out", "spec.json"], "--out spec.json: must end in .toml"),
        (["photos", "--out", "no/spec.toml"], "--out no/spec.toml: there is no folder no"),
        (["photos", "--backbone", "resent50"], "unknown backbone 'resent50' -- did you mean 'resnet50'? (see: "
         "clscli list backbones)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(clscli, photos, arguments, message):
    for name in ("file", "old.toml"):
        Path(name).touch()
    assert clscli("init", *arguments) == (2, "", f"{message}\n")
    assert not Path("spec.toml").exists()
    assert not Path("clscli.schema.json").exists()


def test_pictures_that_no_training_could_use_are_told(clscli, tmp_path):
    draw_picture(tmp_path / "photos/cat/1.png", "disc", seed=0)
    where = f"init photos: data.root: {Path.cwd() / 'photos'}"
    done = clscli("init", "photos")
    message = "found one class, 'cat' -- a classifier needs at least two"
    assert (done.code, done.err) == (2, f"init photos: data.root: {message}\n")
    shutil.rmtree("photos/cat")
    done = clscli("init", "photos")
    assert done.err == f"{where}: no pictures in it -- expected one folder a class, with pictures in each\n"
    assert not Path("spec.toml").exists()


WEIGHTED = """
    from torch import Tensor, nn
    from clscli.models.published import Weights

    class Weighted(nn.Sequential):
        def __init__(self, in_channels: int, *, width: int = 8):
            super().__init__(nn.Conv2d(in_channels, width, 3))
            self.out_channels = width

        @classmethod
        def published_weights(cls, parameters):
            return [Weights.model_validate({
                "name": "ours", "urls": ["https://nowhere.example/w.pth"], "sha256": "0" * 64,
                "licence": "MIT", "source": "ours", "input_size": 32, "resize_size": 36})]
"""


def test_of_a_backbone_that_lists_no_layers_all_learn_alike(clscli, large, plugin):
    plugin("backbones", weighted="weighted_net:Weighted", weighted_net=WEIGHTED)
    done = clscli("init", large, "--backbone", "weighted")
    assert (done.code, done.err.splitlines()[-1]) == (0, "next: clscli train spec.toml"), done.err
    values = tomllib.loads(Path("spec.toml").read_text(encoding="utf-8"))
    assert values["model"]["backbone"] == {"type": "extra:weighted", "pretrained": True}
    assert values["optimizer"]["groups"] == {"head_lr": 10.0}


def test_what_is_broken_and_not_asked_for_is_one_line(clscli, photos, plugin):
    plugin("heads", one="nosuchmodule:X", other="nosuchmodule:Y")
    done = clscli("init", "photos")
    assert done.code == 0
    told = [line for line in done.err.splitlines() if "cannot be used" in line]
    assert told == ["2 of them cannot be used, and are not in clscli.schema.json -- see: clscli list --check"]
    assert "nosuchmodule" not in done.err


def test_a_backbone_that_cannot_be_trained_on_these_pictures_is_told_and_nothing_written(clscli, photos, plugin):
    plugin(
        "backbones",
        picky="picky_net:Picky",
        picky_net="""
            from torch import Tensor, nn

            class Picky(nn.Conv2d):
                def __init__(self, in_channels: int, *, width: int = 8):
                    super().__init__(in_channels, width, 64)
                    self.out_channels = width
        """,
    )
    done = clscli("init", "photos", "--backbone", "picky")
    assert done.code != 0
    assert "backbone 'extra:picky'" in done.err
    assert not Path("spec.toml").exists()


def test_completion():
    assert complete_backbone("mobilenet_v3_s") == ["mobilenet_v3_small", "mobilenet_v3_small_050"]
