"""`clscli train`: what it prints, writes and refuses."""

import json

import pytest
import torch
from conftest import draw_folder, draw_picture

from clscli.engine.checkpoint import load_checkpoint


def test_the_shortest_spec_trains(clscli, pictures, tmp_path):
    (tmp_path / "short.toml").write_text(f'[data]\nroot = "{pictures}"\n')
    done = clscli(
        *("train", "short.toml", "--json", "--device", "cpu", "--set", "train.epochs=1"),
        *("--set", "train.precision=float32", "--set", "data.num_workers=0", "--set", "data.batch_size=24"),
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["run"] == "runs/short"
    assert result["checkpoint"] == "runs/short/best.pth"
    assert result["best"]["epoch"] == 1
    assert set(result["best"]) >= {"epoch", "top1", "top5", "loss", "train_loss", "macro_f1", "balanced_accuracy"}
    assert sorted(p.name for p in (tmp_path / "runs/short").iterdir()) == [
        *("best.pth", "curves.png", "env.json", "last.pth", "metrics.jsonl", "spec.toml", "train.log")
    ]


def test_progress_and_result_are_lines_for_people(clscli, tiny_file):
    done = clscli("train", tiny_file, "--device", "cpu")
    assert done.code == 0
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("resnet18: 19,638 parameters, cpu (")
    assert lines[0].endswith(", float32")
    assert lines[1] == "24 training and 12 validation pictures of 2 classes, run directory runs/tiny"
    assert [line.split("  ")[0] for line in lines[2:5]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert lines[6].startswith("best top-1 ")
    assert lines[6].endswith("saved as runs/tiny/best.pth")
    assert lines[7:] == ["run directory: runs/tiny", "next: clscli predict IMAGE --ckpt runs/tiny/best.pth"]


def test_runs_are_numbered(clscli, tiny_file, tmp_path):
    for name in ("tiny", "tiny-2"):
        done = clscli("train", tiny_file, "--device", "cpu", "--json", "--set", "train.epochs=1")
        assert json.loads(done.out)["run"] == f"runs/{name}"
    assert clscli("train", tiny_file, "--out", "runs/tiny").err == (
        "--out runs/tiny: is not empty -- choose another folder, or go on with: clscli train --resume runs/tiny\n"
    )


def test_a_folder_of_pictures_needs_no_spec(clscli, pictures):
    done = clscli("train", "--data", pictures, "--dry-run", "--json", "--device", "cpu")
    shown = json.loads(done.out)
    assert shown["spec"]["data"]["root"] == str(pictures)
    assert shown["data"] == [
        {"class": "disc", "train": 12, "val": 6},
        {"class": "square", "train": 12, "val": 6},
    ]
    assert shown["parameters"] == 11_176_512 + 2 * 513


def test_data_replaces_the_data_of_a_spec(clscli, pictures):
    done = clscli("train", "demo", "--data", pictures, "--dry-run", "--json", "--device", "cpu")
    data = json.loads(done.out)["spec"]["data"]
    assert data["root"] == str(pictures)
    assert not {"train", "val"} & set(data)


def test_dry_run_shows_origins_shapes_and_data_and_writes_nothing(clscli, tiny_file, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    done = clscli("train", tiny_file, "--dry-run", "--device", "cpu", "--set", "optimizer.lr=0.5")
    assert done.code == 0
    for line in (
        "lr = 0.5  # --set optimizer.lr=0.5",
        "weight_decay = 0.05  # default",
        "betas = [0.9, 0.999]  # default",
        "images                         (B, 3, 20, 20)",
        "backbone 'resnet18'            (B, 32, 3, 3)",
        "neck 'global_average_pooling'  (B, 32)",
        "head 'linear'                  (B, 2)",
        "19,638 parameters, 19,638 of them trained",
        "disc                   12                    6",
        "all                    24                   12",
    ):
        assert line in done.out.splitlines()
    assert 'type = "resnet18"  # tiny.toml:' in done.out
    assert sorted(tmp_path.rglob("*")) == before


def test_frozen_stages_are_not_counted_as_trained(clscli, tiny_file):
    done = clscli("train", tiny_file, "--dry-run", "--json", "--set", "model.backbone.frozen_stages=1")
    shown = json.loads(done.out)
    # stem: 3x3x3x4 + 2 x 4; one basic block of 4 channels: 2 x (3x3x4x4) + 2 x 8
    assert shown["parameters"] - shown["trained_parameters"] == (108 + 8) + (288 + 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "which spec? -- clscli train spec.toml, or clscli train demo, or clscli train --data photos"),
        (["train", "nope.toml"], "nope.toml: no such spec file"),
        (["train", "demmo"], "demmo: neither a spec file nor a preset -- did you mean 'demo'?"),
        (["train", "."], ".: is a folder, not a spec -- for a folder of pictures: clscli train --data ."),
        (["train", "--resume", "nowhere"], "--resume nowhere: there is no nowhere to go on with"),
        (["train", "--resume", "."], "--resume .: there is no last.pth to go on with"),
        (
            ["train", "demo", "--resume", "x", "--set", "a=1", "--dry-run"],
            "--resume takes everything from the run: remove SPEC, --set, --dry-run",
        ),
        (
            ["train", "demo", "--device", "gpu"],
            "--device gpu: no such device -- write auto, cpu, cuda, cuda:1 or mps",
        ),
    ],
)
def test_wrong_usage(clscli, arguments, message):
    assert clscli(*arguments) == (2, "", f"{message}\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu(clscli, tiny_file):
    done = clscli("train", tiny_file, "--device", "cuda:0")
    assert done.code == 2
    assert done.err.startswith("--device cuda:0: this torch ")
    assert done.err.endswith(" -- use --device cpu, or auto\n")


def test_a_missing_folder_is_found_before_anything_runs(clscli, tmp_path):
    (tmp_path / "s.toml").write_text('seed = 1\n[data]\nroot = "photos"\n')
    done = clscli("train", "s.toml", "--device", "cpu")
    assert done == (2, "", f"s.toml:3: data.root: {tmp_path}/photos: no such folder\n")
    assert not (tmp_path / "runs").exists()


def test_shapes_that_do_not_fit_are_an_error_in_words(clscli, tiny_file):
    done = clscli("train", tiny_file, "--dry-run", "--set", "model.neck=[]")
    assert done.code == 2
    assert done.err == (
        "tiny.toml:24: model.head: head 'linear' cannot take what backbone 'resnet18' gives, (32, 3, 3): "
        "head 'linear' expects vectors (B, C), got (2, 32, 3, 3): "
        'add neck = { type = "global_average_pooling" }\n'
    )


def test_a_component_that_refuses_its_parameters(clscli, tiny_file):
    done = clscli("train", tiny_file, "--dry-run", "--set", "model.backbone.out_indices=[7]")
    assert done.code == 2
    assert done.err == (
        "tiny.toml:18: model.backbone: backbone 'resnet18': ResNet has 4 stages, so out_indices must be "
        "between -4 and 3, got [7]\n"
    )


@pytest.mark.parametrize("option", ["--dry-run", "--json"])
def test_warmup_longer_than_the_run(clscli, tiny_file, option):
    done = clscli("train", tiny_file, "--set", "scheduler.warmup_epochs=4", option)
    assert done.code == 2
    assert done.err.endswith("scheduler: scheduler 'cosine': warmup_epochs is 4, but the whole run has 3 epochs\n")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.backbone.pretrained=./nope.pth", "model.backbone.pretrained: {here}/nope.pth: no such file"),
        (
            "data.root=",
            "--set data.root=: cannot read the value '' -- write \"\" for an empty string, or use --unset",
        ),
        ('data.root=""', "data.root: "),
        ("optimizer.lr=inf", "optimizer.lr: input should be a finite number, got inf"),
        ("data.batch_size=99999999999999999999", "data.batch_size: must be 'auto' or at most 1000000, got 99999"),
    ],
)
def test_what_training_would_refuse_a_dry_run_refuses(clscli, tiny_file, tmp_path, setting, message):
    done = clscli("train", tiny_file, "--dry-run", "--set", setting)
    assert (done.code, done.out) == (2, "")
    assert message.format(here=tmp_path) in done.err
    assert not (tmp_path / "runs").exists()


def test_unreadable_pictures_stop_a_run_before_it_starts(clscli, tmp_path, tiny):
    root = draw_folder(tmp_path / "photos", {"train": 4, "val": 2})
    (root / "train/disc/empty.jpg").write_bytes(b"")
    whole = (root / "val/disc/000.png").read_bytes()
    (root / "val/disc/cut.png").write_bytes(whole[: len(whole) // 2])
    options = ("--data", root, "--device", "cpu", "--set", "train.epochs=1", "--set", "data.num_workers=0")
    spec = tmp_path / "t.toml"
    spec.write_text("[transforms]\neval = []\ntrain = []\n[train]\nprecision = 'float32'\n")
    done = clscli("train", spec, *options)
    assert done.code == 1
    assert done.err.startswith("2 of 14 pictures cannot be read: ")
    assert f"{root}/train/disc/empty.jpg (not a picture, or of a format that cannot be read)" in done.err
    assert f"{root}/val/disc/cut.png (" in done.err
    assert done.err.endswith(' -- mend or remove them, or set data.on_bad_image = "skip"\n')
    assert not (tmp_path / "runs").exists()

    done = clscli("train", spec, *options, "--set", "data.on_bad_image=skip")
    assert done.code == 0
    assert "skipped: 2 of 14 pictures cannot be read: " in done.err
    assert "8 training and 4 validation pictures of 2 classes" in done.err


def test_one_tree_is_split_and_the_split_is_saved(clscli, tmp_path, tiny):
    for number in range(10):
        for shape in ("disc", "square"):
            draw_picture(tmp_path / f"tree/{shape}/{number}.png", shape, seed=number)
    options = ("--device", "cpu", "--set", "train.precision=float32", "--set", "data.num_workers=0")
    done = clscli(
        *("train", "demo", "--data", "tree", *options, "--set", "train.epochs=2", "--set", "data.val_fraction=0.3")
    )
    assert done.code == 0, done.err
    assert "14 training and 6 validation pictures" in done.err
    rows = (tmp_path / "runs/demo/split.csv").read_text().splitlines()
    assert rows[0] == "path,class,split"
    assert len(rows) == 21
    # The evaluation of the checkpoint is on the same pictures, though a new one has come in.
    draw_picture(tmp_path / "tree/disc/new.png", "disc", seed=99)
    done = clscli("eval", "--ckpt", "runs/demo/best.pth", "--json", "--device", "cpu")
    assert json.loads(done.out)["samples"] == 6


def test_the_resolved_spec_of_a_run_trains_the_same_run(clscli, tiny_file, tmp_path):
    first = json.loads(clscli("train", tiny_file, "--device", "cpu", "--json").out)
    again = json.loads(clscli("train", "runs/tiny/spec.toml", "--device", "cpu", "--json").out)
    assert again["run"] == "runs/spec"
    timed = ("seconds", "images_per_second", "data_wait")
    assert {k: v for k, v in first["last"].items() if k not in timed} == {
        k: v for k, v in again["last"].items() if k not in timed
    }
    assert (tmp_path / "runs/spec/spec.toml").read_bytes() == (tmp_path / "runs/tiny/spec.toml").read_bytes()
    one, two = (load_checkpoint(f"runs/{name}/last.pth").weights for name in ("tiny", "spec"))
    assert all(torch.equal(one[key], two[key]) for key in one)
