"""What `clscli init` decides, rule by rule."""

from __future__ import annotations

import re
import tomllib

import pytest

from clscli.spec.starting_point import Network, Pictures, PublishedFile, StartingPoint, usual_backbone
from clscli.spec.suggest import render_suggestion

WEIGHTS = PublishedFile(
    name="V1",
    source="somebody",
    licence="MIT",
    megabytes=22.4,
    url="https://host/net.pth",
    place="~/weights/net.pth",
    is_here=False,
    crop=192,
    interpolation="bicubic",
)
STAGED = frozenset({"stem", "layers", "frozen_stages"})
RESNET = Network("resnet18", "Why.", STAGED, has_small_stem=True, lists_layers=True, weights=WEIGHTS)
CONVNEXT = Network("convnext_tiny", "Why.", frozenset({"frozen_stages"}), lists_layers=True, weights=WEIGHTS)
PLAIN = Network("tinyvit", "Why.")


def pictures(*counts, num_val=100, side=400, one_size=None, names="cdefgh", num_unreadable=0):
    return Pictures(
        class_counts={f"{name}at": count for name, count in zip(names, counts, strict=False)},
        num_val=num_val,
        sides=(side, side, side),
        one_size=one_size,
        num_unreadable=num_unreadable,
    )


def suggested(found, network):
    """Return the values of a suggested spec."""
    return tomllib.loads(text_of(found, network))


def text_of(found, network):
    """Return a suggested spec with its comments unwrapped."""
    text = render_suggestion(StartingPoint(found, network), "photos", ["# Title."])
    assert max(map(len, text.splitlines())) <= 110
    while text != (joined := re.sub(r"(?m)^(# .*)\n# ", r"\1 ", text)):
        text = joined
    return text


def test_the_usual_backbone():
    small, large = pictures(2000, 2000, side=64), pictures(10, 10, side=65)
    assert [usual_backbone(small, on_gpu=on_gpu)[0] for on_gpu in (True, False)] == ["resnet18"] * 2
    assert usual_backbone(large, on_gpu=True)[0] == "convnext_tiny"
    assert usual_backbone(large, on_gpu=False)[0] == "mobilenet_v3_large"
    assert "--backbone convnext_tiny" not in usual_backbone(small, on_gpu=True)[1]
    assert "--backbone convnext_tiny" in usual_backbone(pictures(999, 999, side=32), on_gpu=True)[1]


def test_published_weights_are_fine_tuned():
    assert suggested(pictures(80, 80), CONVNEXT) == {
        "data": {"root": "photos", "batch_size": 16},
        "model": {"backbone": {"type": "convnext_tiny", "pretrained": True}},
        "optimizer": {"type": "adamw", "lr": 1e-4, "groups": {"head_lr": 10.0, "layer_decay": 0.8}},
        "train": {"epochs": 50, "freeze_epochs": 2},
    }


@pytest.mark.parametrize(
    ("per_class", "frozen", "decay"), [(49, 2, 0.8), (50, None, 0.8), (999, None, 0.8), (1000, None, 0.9)]
)
def test_fewer_pictures_change_less_of_the_weights(per_class, frozen, decay):
    values = suggested(pictures(per_class, per_class), CONVNEXT)
    assert values["model"]["backbone"].get("frozen_stages") == frozen
    assert values["optimizer"]["groups"]["layer_decay"] == decay


def test_only_a_backbone_that_can_has_frozen_stages():
    other = Network("theirs", "Why.", weights=WEIGHTS)
    assert "frozen_stages" not in text_of(pictures(10, 10), other)


@pytest.mark.parametrize(
    ("network", "side", "num_train", "epochs"),
    [
        (CONVNEXT, 400, 1_000, 50),
        (CONVNEXT, 400, 1_002, 30),
        (CONVNEXT, 400, 10_002, 15),
        (CONVNEXT, 400, 100_002, 10),
        (RESNET, 32, 5_000, 100),
        (RESNET, 32, 5_002, 50),
        (RESNET, 32, 20_002, 30),
        (PLAIN, 400, 100, 100),
        (PLAIN, 400, 1_000_000, 100),
    ],
)
def test_epochs(network, side, num_train, epochs):
    found = pictures(num_train // 2, num_train // 2, side=side)
    assert suggested(found, network)["train"]["epochs"] == epochs


@pytest.mark.parametrize(
    ("network", "side", "num_train", "batch_size"),
    [
        (CONVNEXT, 400, 10, 8),
        (CONVNEXT, 400, 144, 8),
        (CONVNEXT, 400, 146, 16),  # 10 steps
        (CONVNEXT, 400, 290, 32),
        (CONVNEXT, 400, 100_000, 32),
        (RESNET, 32, 100_000, 128),
        (PLAIN, 400, 100_000, 64),
    ],
)
def test_batch_size(network, side, num_train, batch_size):
    found = pictures(num_train // 2, num_train // 2, side=side)
    assert suggested(found, network)["data"]["batch_size"] == batch_size


def test_small_pictures_of_one_size_are_learnt_in_it_from_nothing():
    found = pictures(5000, 5000, side=28, one_size=(28, 28))
    assert suggested(found, RESNET) == {
        "data": {"root": "photos", "batch_size": 128},
        "transforms": {
            "train": [{"type": "random_crop", "size": 28, "padding": 3}, {"type": "random_horizontal_flip"}],
            "eval": [],
        },
        "model": {"backbone": {"type": "resnet18", "stem": "cifar"}},
        "optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        "train": {"epochs": 50},
    }


def test_the_rate_follows_the_batch():
    assert suggested(pictures(100, 100, side=32), RESNET)["optimizer"]["lr"] == 0.0125  # 16 of 128


def test_pictures_that_are_no_squares_keep_both_sides():
    train = suggested(pictures(50, 50, side=32, one_size=(32, 64)), RESNET)["transforms"]["train"]
    assert train[0] == {"type": "random_crop", "size": [32, 64], "padding": 4}


def test_small_pictures_of_several_sizes_are_brought_to_the_middle_one():
    transforms = suggested(pictures(50, 50, side=41), RESNET)["transforms"]
    assert transforms["train"][0] == {"type": "random_resized_crop", "size": 48, "scale": [0.35, 1.0]}
    assert transforms["eval"] == [{"type": "resize", "size": 48, "mode": "crop"}]


def test_without_a_small_stem_no_picture_has_less_than_cifar_s_32_pixels():
    found = pictures(50, 50, side=28, one_size=(28, 28))
    assert suggested(found, PLAIN)["transforms"] == {
        "train": [
            {"type": "random_resized_crop", "size": 32, "scale": [0.35, 1.0]},
            {"type": "random_horizontal_flip"},
        ],
        "eval": [{"type": "resize", "size": 32, "mode": "crop"}],
    }
    same = suggested(pictures(50, 50, side=32, one_size=(32, 32)), PLAIN)["transforms"]
    assert same["eval"] == []


def test_the_depth_is_halved_where_there_is_no_gpu():
    halved = Network("resnet18", "Why.", STAGED, has_small_stem=True, is_halved=True)
    assert suggested(pictures(50, 50, side=32), halved)["model"]["backbone"]["layers"] == [1, 1, 1, 1]
    assert "layers" not in suggested(pictures(50, 50, side=300), halved)["model"]["backbone"]


def test_small_pictures_are_enlarged_for_weights_without_a_small_stem():
    found = pictures(500, 500, side=32)
    assert suggested(found, CONVNEXT)["model"]["backbone"]["pretrained"] is True
    assert "transforms" not in suggested(found, CONVNEXT)
    assert "More than half of these pictures are enlarged to it." in text_of(found, CONVNEXT)
    assert "enlarged" not in text_of(pictures(500, 500, side=192), CONVNEXT)


def test_a_backbone_without_weights():
    photos = suggested(pictures(500, 500), PLAIN)
    assert photos == {
        "data": {"root": "photos", "batch_size": 64},
        "model": {"backbone": {"type": "tinyvit"}},
        "train": {"epochs": 100},
    }
    sized = Network("theirs", "Why.", frozenset({"image_size"}))
    one, several = pictures(50, 50, side=36, one_size=(36, 36)), pictures(50, 50, side=41)
    assert suggested(one, sized)["model"]["backbone"] == {"type": "theirs", "image_size": 36}
    assert suggested(several, sized)["model"]["backbone"] == {"type": "theirs", "image_size": 48}


@pytest.mark.parametrize(("num_rarest", "is_imbalanced"), [(101, False), (100, True)])
def test_imbalance(num_rarest, is_imbalanced):
    values = suggested(pictures(1000, num_rarest), CONVNEXT)
    expected = ({"type": "class_weighted", "power": 0.5}, "balanced_accuracy") if is_imbalanced else (None, None)
    assert (values["data"].get("sampler"), values["train"].get("monitor")) == expected


@pytest.mark.parametrize(
    ("total", "fraction", "told"),
    [
        (100, 0.2, "With 20 of them, top-1 is known to within 22 points."),
        (25_000, 0.2, "With 5000 of them, top-1 is known to within 1.4 points."),
        (25_002, 0.1, "With 2500 of them, top-1 is known to within 2 points."),
        (50_002, 0.05, "With 2500 of them, top-1 is known to within 2 points."),
    ],
)
def test_pictures_for_validation(total, fraction, told):
    found = pictures(total // 2, total // 2, num_val=None)
    assert suggested(found, CONVNEXT)["data"]["val_fraction"] == fraction
    assert told in text_of(found, CONVNEXT)
    assert "val_fraction" not in text_of(pictures(total // 2, total // 2), CONVNEXT)


def test_unreadable_pictures_are_skipped():
    assert suggested(pictures(50, 50, num_unreadable=3), CONVNEXT)["data"]["on_bad_image"] == "skip"


@pytest.mark.parametrize(
    ("classes", "have_sides"),
    [
        (["0", "1", "7"], True),
        (["a", "B"], True),
        (["signs/turn_left", "signs/turn_right"], True),
        (["Left hand", "other"], True),
        (["cat", "dog"], False),
        (["10", "7"], False),
        (["leftover", "bright"], False),
    ],
)
def test_classes_that_change_in_a_mirror(classes, have_sides):
    found = Pictures(dict.fromkeys(classes, 60), 20, (200, 300, 400), None)
    assert found.have_sides is have_sides
    transforms = suggested(found, CONVNEXT).get("transforms")
    crop = {"type": "random_resized_crop", "size": 192, "scale": [0.35, 1.0], "interpolation": "bicubic"}
    assert transforms == ({"train": [crop]} if have_sides else None)
    assert suggested(found, PLAIN).get("transforms") == (
        {"train": [{"type": "random_resized_crop", "size": 224, "scale": [0.35, 1.0]}]} if have_sides else None
    )
    small = Pictures(dict.fromkeys(classes, 60), 20, (32, 32, 32), (32, 32))
    flip = {"type": "random_horizontal_flip"}
    assert (flip in suggested(small, RESNET)["transforms"]["train"]) is not have_sides


def test_where_the_weights_come_from_is_told():
    text = text_of(pictures(10, 10), CONVNEXT)
    assert (
        "# V1 of somebody, 22 MB, licence MIT: fetched once, when the training begins. Where it has no network, "
        "put https://host/net.pth at ~/weights/net.pth yourself. Without weights, delete this line, "
        "frozen_stages, groups and freeze_epochs, and set lr = 1e-3 and epochs = 100: with few pictures a much "
        "worse start. They expect pictures of 192 x 192, and get them so.\n"
    ) in text
    assert "delete this line, groups and freeze_epochs" in text_of(pictures(100, 100), CONVNEXT)
    here = Network("theirs", "Why.", weights=WEIGHTS._replace(is_here=True, megabytes=None))
    assert "# V1 of somebody, licence MIT: on this machine already. They expect" in text_of(pictures(10, 10), here)


def test_the_pictures_in_a_line():
    assert Pictures({"cat": 40, "dog": 9}, None, (20, 30, 50), None).describe() == (
        "49 pictures of 2 classes, 9 to 40 of each; shorter side 20 to 50 pixels, median 30"
    )
    assert Pictures({"cat": 9, "dog": 9}, 4, (32, 32, 32), (32, 32)).describe() == (
        "18 training and 4 validation pictures of 2 classes, 9 of each; shorter side 32 pixels"
    )


def test_the_start_in_a_line():
    assert StartingPoint(pictures(100, 100), CONVNEXT).describe() == (
        "convnext_tiny, fine-tuned from V1, in 50 epochs with batches of 16"
    )
    assert StartingPoint(pictures(100, 100), PLAIN).describe() == (
        "tinyvit, from nothing, in 100 epochs with batches of 16"
    )
