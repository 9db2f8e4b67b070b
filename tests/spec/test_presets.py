from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

import clscli
import clscli.presets
from clscli.data.order import num_batches
from clscli.engine.schedules import build_schedule
from clscli.presets import preset_names, preset_text, preset_title
from clscli.spec import load_spec, render_spec

FILES = sorted(Path(clscli.presets.__file__).parent.rglob("*.toml"))
IMAGENET, CIFAR10 = 1_281_167, 50_000  # training pictures

# What makes a preset small enough to be trained here, on pictures of 20x20: its network, and the size of its crop.
SMALL_RESNET = ["model.backbone.base_channels=4", "model.backbone.layers=[1, 1]"]
SMALL = {
    "cifar10-fast": SMALL_RESNET,
    "cifar10-resnet18": SMALL_RESNET,
    "deit-small": ["model.backbone.num_layers=2", "model.backbone.image_size=32", "transforms.train.0.size=32"],
    "demo": [*SMALL_RESNET, "data.train.num_train=20", "data.val.num_val=20"],
    "finetune-small": [
        *("model.backbone.pretrained=false", "model.backbone.depths=[1, 1]", "model.backbone.widths=[4, 8]"),
    ],
    "imagenet-resnet50": [*SMALL_RESNET, "transforms.train.0.size=32"],
    "rsb-a3": [*SMALL_RESNET, "transforms.train.0.size=32"],
}


def load_preset(name):
    """Load a preset, with pictures if it names none itself."""
    data = tomllib.loads(preset_text(name)).get("data", {})
    return load_spec(name, sets=() if "root" in data or "train" in data else ["data.root=photos"])


def values(name, *path):
    """Return what a resolved preset has at a path."""
    found = load_preset(name).values
    for key in path:
        found = found[key]
    return found


def rates(name, num_pictures):
    """Return the rate of a preset as a function of the epoch, for a training set of some size."""
    spec = load_preset(name)
    per_epoch = num_batches(num_pictures, step_size(name))
    schedule = build_schedule(spec, per_epoch)
    return lambda epoch: spec.values["optimizer"]["lr"] * schedule(round(epoch * per_epoch))


def step_size(name):
    """Return the number of pictures in a preset's optimizer step."""
    return values(name, "data", "batch_size") * values(name, "train", "accumulation_steps")


def test_every_file_is_known_by_its_name():
    assert preset_names() == [file.stem for file in FILES] == sorted(SMALL)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_its_resolved_spec_loads_to_itself(name):
    text = render_spec(load_preset(name).values)
    assert render_spec(load_spec(tomllib.loads(text)).values) == text


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_opens_with_a_comment_that_says_what_it_is(name):
    assert preset_text(name).startswith(f"# {preset_title(name)}\n")
    assert 20 < len(preset_title(name)) <= 113


@pytest.mark.parametrize("name", sorted(set(preset_names()) - {"demo"}))
def test_a_recipe_names_its_source(name):
    comment = preset_text(name).partition("\n\n")[0]
    assert all(line.startswith("# ") for line in comment.splitlines())
    assert "https://" in comment


def test_the_text_of_an_unknown_preset():
    with pytest.raises(KeyError, match="nosuch"):
        preset_text("nosuch")


@pytest.mark.parametrize(
    ("name", "parameters", "group_rates"),
    [
        # Parameters for two classes instead of 1000 or 10: less by 998 or 8 rows of the linear layer.
        ("imagenet-resnet50", 25_557_032 - 998 * 2049, [(0.5, 2e-5), (0.5, 0.0)]),
        ("rsb-a3", 25_557_032 - 998 * 2049, [(8e-3, 0.02), (8e-3, 0.0)]),
        ("deit-small", 22_050_664 - 998 * 385, [(1e-3, 0.05), (1e-3, 0.0)]),
        ("cifar10-resnet18", 11_173_962 - 8 * 513, [(0.1, 1e-4)]),
        ("cifar10-fast", 4_903_242 - 8 * 513, [(0.4, 5e-4)]),
    ],
)
def test_a_dry_run_shows_the_published_model_and_rates(clscli, pictures, name, parameters, group_rates):
    shown = clscli("train", name, "--data", pictures, "--device", "cpu", "--dry-run", "--json")
    assert shown.code == 0, shown.err
    result = json.loads(shown.out)
    assert result["parameters"] == result["trained_parameters"] == parameters
    assert [(group["lr"], group["weight_decay"]) for group in result["groups"]] == group_rates


def test_a_dry_run_of_fine_tuning_shows_rates_that_fall_towards_the_stem(clscli, pictures):
    shown = clscli("train", "finetune-small", "--data", pictures, "--device", "cpu", "--dry-run", "--json")
    assert shown.code == 0, shown.err
    result = json.loads(shown.out)
    rates = [group["lr"] for group in result["groups"]]
    assert max(rates) == pytest.approx(1e-3)  # the head
    # 18 blocks and 3 layers between stages, each a layer, under the head; the stem is the lowest.
    assert sorted({rate for rate in rates if rate < 1e-3}) == pytest.approx(
        [1e-4 * 0.8**layer for layer in range(22, -1, -1)]
    )
    assert (result["spec"]["train"]["epochs"], result["spec"]["train"]["freeze_epochs"]) == (20, 2)
    # What the weights were made for, with the defaults' augmentation.
    augmentation = [table["type"] for table in result["spec"]["transforms"]["train"]]
    assert augmentation == ["random_resized_crop", "random_horizontal_flip", "trivial_augment_wide"]
    assert result["spec"]["transforms"]["eval"][0]["size"] == 236
    assert result["spec"]["model"]["backbone"]["pretrained"] is True


@pytest.mark.parametrize(
    ("name", "num_pictures", "pictures_a_step", "points"),
    [
        ("imagenet-resnet50", IMAGENET, 1024, {0: 0.005, 5: 0.5, 302.5: 0.25, 600: 0.0}),
        ("rsb-a3", IMAGENET, 2048, {0: 1e-4, 5: 8e-3, 100: 1e-6}),
        ("deit-small", IMAGENET, 1024, {0: 1e-6, 5: 1e-3, 300: 1e-5}),
        ("cifar10-resnet18", CIFAR10, 128, {0: 0.1, 99.99: 0.1, 100: 0.01, 150: 0.001, 199.99: 0.001}),
        ("cifar10-fast", CIFAR10, 512, {2.5: 0.2, 5: 0.4, 14.5: 0.2, 24: 0.0}),
    ],
)
def test_the_published_schedule(name, num_pictures, pictures_a_step, points):
    rate = rates(name, num_pictures)
    assert step_size(name) == pictures_a_step
    for epoch, expected in points.items():
        assert rate(epoch) == pytest.approx(expected, rel=0.01, abs=1e-9), epoch


@pytest.mark.parametrize(
    ("name", "mixup", "cutmix"), [("imagenet-resnet50", 0.2, 1.0), ("rsb-a3", 0.1, 1.0), ("deit-small", 0.8, 1.0)]
)
def test_every_batch_is_mixed_one_way_or_the_other(name, mixup, cutmix):
    assert values(name, "transforms", "batch") == [
        {"type": "mixup", "alpha": mixup, "p": 0.5},
        {"type": "cutmix", "alpha": cutmix, "p": 0.5},
    ]


@pytest.mark.parametrize(
    ("name", "train_size", "resize", "crop"),
    [("imagenet-resnet50", 176, 232, 224), ("rsb-a3", 160, 235, 224), ("deit-small", 224, 256, 224)],
)
def test_the_published_sizes(name, train_size, resize, crop):
    transforms = values(name, "transforms")
    assert transforms["train"][0]["size"] == train_size
    assert [table["size"] for table in transforms["eval"]] == [resize, crop]


def test_the_published_losses():
    assert values("imagenet-resnet50", "model", "loss", "label_smoothing") == 0.1
    assert values("deit-small", "model", "loss", "label_smoothing") == 0.1
    assert values("cifar10-fast", "model", "loss", "label_smoothing") == 0.2
    assert values("cifar10-resnet18", "model", "loss", "label_smoothing") == 0.0
    bce = values("rsb-a3", "model", "loss")
    assert (bce["type"], bce["target_threshold"], bce["label_smoothing"]) == ("binary_cross_entropy", 0.2, 0.0)


def test_the_average_of_torchvisions_recipe_is_for_its_batch_and_epochs():
    (ema,) = values("imagenet-resnet50", "hooks")
    share = (1 - 0.99998) * 1024 * 32 / 600  # as its train.py adjusts --model-ema-decay
    assert (ema["type"], ema["every"]) == ("ema", 32)
    assert ema["decay"] == pytest.approx(1 - share, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_a_preset_trains(pictures, tmp_path, name):
    sets = [
        *SMALL[name],
        *("data.num_workers=0", "train.epochs=3", "train.precision=float32", "scheduler.warmup_epochs=0.5"),
        *(() if name == "demo" else ('transforms.eval=[{ type = "resize", size = [32, 32] }]',)),
    ]
    result = clscli.train(
        name, data=None if name == "demo" else pictures, device="cpu", sets=sets, out=tmp_path / "run"
    )
    assert [result.last["epoch"], result.last["train_loss"] > 0] == [3, True]
