"""Pretrained weights: from files and URLs, with a report of what was loaded."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from local_server import serving
from torch import nn

import clscli
from clscli.engine.prepare import prepare
from clscli.errors import CheckpointError, SpecError
from clscli.models.build import Blueprint, build_model
from clscli.models.matching import Match
from clscli.models.published import Weights
from clscli.models.weights import describe_match, load_pretrained
from clscli.spec import load_spec


class Loaded(NamedTuple):
    backbone: nn.Module
    lines: list[str]


@pytest.fixture
def model(tiny):
    """Build the tiny model with `pretrained` as given, and load what it asks for."""

    def build(pretrained, **backbone):
        tiny["model"]["backbone"] |= {"pretrained": pretrained, **backbone}
        spec = load_spec(tiny)
        classifier = prepare(spec).model
        return Loaded(classifier.backbone, load_pretrained(spec, classifier, num_classes=2))

    return build


@pytest.fixture
def weights(tiny):
    """The weights of another tiny backbone, every value different, with a head that is not wanted."""
    state = prepare(load_spec(tiny | {"seed": 5})).model.backbone.state_dict()
    state = {k: v + 0.5 if v.is_floating_point() else v + 3 for k, v in state.items()}
    return {**state, "fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)}


def same(model, weights):
    return all(torch.equal(value, weights[name]) for name, value in model.backbone.state_dict().items())


def under(prefix, weights):
    """Put the backbone's tensors under a prefix, and the head's under `head.`, as trainers do."""
    return {f"{'head.' if name.startswith('fc.') else prefix}{name}": tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}},  # DataParallel
        lambda w: {f"_orig_mod.{k}": v for k, v in w.items()},  # torch.compile
        lambda w: {"meta": {"epoch": 100}, "state_dict": under("backbone.", w), "optimizer": {}},  # mmpretrain
        lambda w: {"model": under("backbone.", w), "epoch": 3, "best_acc": 0.5},  # Awesome-Backbones
    ],
)
def test_a_file_whatever_its_wrapping(model, weights, tmp_path, wrap):
    torch.save(wrap(weights), "w.pth")
    loaded = model("./w.pth")
    assert same(loaded, weights)
    assert loaded.lines == [
        f"backbone 'resnet18': loaded 60 of 60 tensors from {tmp_path}/w.pth",
        "backbone 'resnet18': head replaced: 1000 -> 2 classes",
    ]


def test_a_vision_transformer_of_another_size_and_other_channels(tiny):
    """What a user sees who fine-tunes at another resolution."""
    tiny["model"]["backbone"] = {
        "type": "vit_b_16",
        "patch_size": 4,
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 8,
        "mlp_dim": 8,
    }
    source = prepare(load_spec(tiny | {"seed": 5}, sets=["model.backbone.image_size=28"])).model.backbone
    torch.save(source.state_dict() | {"heads.head.weight": torch.zeros(21, 8)}, "w.pth")
    spec = load_spec(tiny, sets=["model.backbone.image_size=20", "model.backbone.pretrained=./w.pth"])
    classifier = build_model(spec, Blueprint(3, (1, 20, 20)))
    backbone = classifier.backbone
    assert load_pretrained(spec, classifier, num_classes=3)[1:] == [
        "backbone 'vit_b_16': first convolution adapted: 3 -> 1 channels",
        "backbone 'vit_b_16': position embedding adapted: 7x7 -> 5x5",
        "backbone 'vit_b_16': head replaced: 21 -> 3 classes",
    ]
    gray = backbone.state_dict()["conv_proj.weight"]
    torch.testing.assert_close(gray, source.state_dict()["conv_proj.weight"].sum(dim=1, keepdim=True))


def test_a_checkpoint_of_clsclis(model, trained):
    loaded = model(str(trained / "best.pth"))
    saved = torch.load(trained / "best.pth", weights_only=True)["weights"]
    assert same(loaded, {k.removeprefix("backbone."): v for k, v in saved.items()})


def test_tensors_that_do_not_fit_are_named(model, weights):
    weights["conv1.weight"] = torch.zeros(4, 1, 3, 3)
    del weights["bn1.bias"]
    torch.save(weights, "w.pth")
    assert model("w.pth").lines[2:] == [
        "backbone 'resnet18': left as initialised, of another shape: conv1.weight",
        "backbone 'resnet18': left as initialised, not in the file: bn1.bias",
    ]


def test_weights_of_another_model_are_refused(model, weights):
    torch.save(weights, "w.pth")
    with pytest.raises(CheckpointError) as info:
        model("w.pth", base_channels=8)
    assert "with the right shape (it has fc.weight, fc.bias) -- these are weights of another model" in str(
        info.value
    )


@pytest.fixture
def serve():
    with serving() as serve:
        yield serve


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that downloads go to, in this test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_a_url_is_downloaded_into_the_cache(model, weights, serve, cache):
    torch.save(weights, "w.pth")
    url = serve({"w.pth": Path("w.pth").read_bytes()}) + "/w.pth"
    loaded = model(url)
    assert same(loaded, weights)
    assert loaded.lines[0] == f"backbone 'resnet18': loaded 60 of 60 tensors from {url}"
    assert [file.name.split(".")[0] for file in cache.iterdir()] == ["w"]


def test_a_file_url_is_read_in_its_place(model, weights, tmp_path, cache):
    torch.save(weights, "with space.pth")
    assert same(model((tmp_path / "with space.pth").as_uri()), weights)
    assert not cache.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_in_the_layout_of_the_hub(model, weights, tmp_path, name):
    folder = tmp_path / "hub-model"
    folder.mkdir()
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors.torch").save_file(weights, folder / name)
    else:
        torch.save(weights, folder / name)
    loaded = model("./hub-model")
    assert same(loaded, weights)
    assert loaded.lines[0] == f"backbone 'resnet18': loaded 60 of 60 tensors from {folder}/{name}"


def test_a_folder_without_weights(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"/empty: has neither model\.safetensors nor pytorch_model\.bin in it$"):
        model("./empty")


@pytest.fixture
def offered(monkeypatch):
    """Publish weights for resnet18, under a licence, and put them where they would be downloaded to."""

    def publish(tensors, **about):
        file = Path("published.pth").absolute()
        torch.save(tensors, file)
        record = Weights(
            **({"name": "OURS", "licence": "MIT", "source": "somewhere", "sha256": "0" * 8} | about),
            urls=("https://example.invalid/published.pth",),
        )
        monkeypatch.setattr("clscli.models.published.read_data_file", lambda component: {"resnet18": [record]})
        monkeypatch.setattr("clscli.models.download.download", lambda urls, sha256, progress: file)

    return publish


@pytest.mark.parametrize("wanted", [True, "OURS"])
def test_published_weights_are_named(model, weights, offered, wanted):
    offered(weights)
    assert model(wanted).lines == [
        "backbone 'resnet18': loaded 60 of 60 tensors from OURS (somewhere)",
        "backbone 'resnet18': head replaced: 1000 -> 2 classes",
    ]


def test_a_licence_that_forbids_commercial_use_is_told(model, weights, offered):
    offered(weights, licence="CC-BY-NC-4.0")
    assert model(True).lines[-1] == (
        "backbone 'resnet18': warning: the weights OURS are not for commercial use: CC-BY-NC-4.0"
    )


@pytest.mark.parametrize(
    ("head", "classes"),
    [
        ({"head.fc.weight": (11, 32), "head.fc.bias": (11,)}, 11),  # mmpretrain
        ({"classifier.0.weight": (64, 32), "classifier.0.bias": (64,), "classifier.3.weight": (12, 64)}, 12),
        ({"head.weight": (13, 32), "head_dist.weight": (13, 32)}, 13),  # DeiT
        ({"classifier.1.weight": (14, 32, 1, 1), "classifier.1.bias": (14,)}, 14),  # SqueezeNet
    ],
)
def test_the_head_of_the_source(model, weights, head, classes):
    del weights["fc.weight"], weights["fc.bias"]
    torch.save(weights | {name: torch.zeros(shape) for name, shape in head.items()}, "w.pth")
    assert model("w.pth").lines[1:] == [f"backbone 'resnet18': head replaced: {classes} -> 2 classes"]


def test_a_head_of_as_many_classes_is_not_taken_for_one_of_the_same(model, weights):
    del weights["fc.weight"], weights["fc.bias"]
    torch.save(weights | {"head.fc.weight": torch.zeros(2, 32), "head.fc.bias": torch.zeros(2)}, "w.pth")
    assert model("w.pth").lines[1:] == [
        "backbone 'resnet18': head not loaded: nothing says that its 2 classes are these"
    ]


def test_what_is_neither_of_the_backbone_nor_of_a_head(model, weights):
    torch.save(weights | {"head.norm": torch.zeros(3), "extra.weight": torch.zeros(3, 3)}, "w.pth")
    assert model("w.pth").lines[1:] == [
        "backbone 'resnet18': head replaced: 1000 -> 2 classes",
        "backbone 'resnet18': not used: extra.weight",
    ]
    del weights["fc.weight"], weights["fc.bias"]
    torch.save(weights | {"head.norm": torch.zeros(3)}, "w.pth")
    assert model("w.pth").lines[1:] == ["backbone 'resnet18': not used: head.norm"]


def test_what_was_adapted_is_told():
    shapes = {
        "conv1.weight": ((64, 3, 7, 7), (64, 1, 7, 7)),
        "pos_embed": ((1, 197, 8), (1, 257, 8)),
        "position.plain": ((1, 196, 8), (1, 4, 8)),
        "pos_two_tokens": ((1, 198, 8), (1, 6, 8)),
        "blocks.0.table": ((169, 3), (225, 3)),
        "pos_wide": ((1, 1, 8), (1, 6, 8)),
    }
    adapted = {name: (torch.Size(old), torch.Size(new)) for name, (old, new) in shapes.items()}
    assert list(describe_match(Match({}, adapted, [], [], {}), num_classes=2)) == [
        "first convolution adapted: 3 -> 1 channels",
        "position embedding adapted: 14x14 -> 16x16",
        "position embedding adapted: 14x14 -> 2x2",
        "position embedding adapted: 14x14 -> 2x2",
        "resized: blocks.0.table (169x3 -> 225x3), pos_wide (1x1x8 -> 1x6x8)",
    ]


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [
        ("nope.pth", "model.backbone.pretrained: {tmp_path}/nope.pth: no such file"),
        (
            "IMAGENET1K_V9",
            "model.backbone.pretrained: backbone 'resnet18' has no published weights 'IMAGENET1K_V9' "
            "-- did you mean 'IMAGENET1K_V1'?",
        ),
    ],
)
def test_weights_that_do_not_exist(model, tmp_path, pretrained, message):
    with pytest.raises(SpecError) as info:
        model(pretrained)
    assert info.value.problems == [f"spec: {message.format(tmp_path=tmp_path)}"]


def test_a_backbone_without_published_weights(tiny):
    tiny["model"]["backbone"] = {"type": "lenet5", "pretrained": True}
    tiny["transforms"] = {"train": [], "eval": [{"type": "resize", "size": [32, 32]}]}
    with pytest.raises(SpecError) as info:
        clscli.train(tiny, device="cpu")
    assert info.value.problems == [
        "spec: model.backbone.pretrained: backbone 'lenet5' has no published weights "
        "-- give a file or a URL of weights"
    ]


def test_a_neck_that_was_published_with_its_backbone():
    hrnet = {"type": "hrnet_w18_small", "pretrained": "./w.pth"}
    spec = load_spec({"data": {"root": "photos"}, "model": {"backbone": hrnet}})
    torch.manual_seed(0)
    source = build_model(spec, Blueprint(7, (3, 32, 32)))
    torch.save({"state_dict": {**source.state_dict()}}, "w.pth")
    torch.manual_seed(1)
    model = build_model(spec, Blueprint(2, (3, 32, 32)))
    lines = load_pretrained(spec, model, num_classes=2)
    total = sum(not name.endswith("num_batches_tracked") for name in source.backbone.state_dict())
    neck = sum(not name.endswith("num_batches_tracked") for name in source.necks[0].state_dict())
    assert lines == [
        f"backbone 'hrnet_w18_small': loaded {total} of {total} tensors from {Path('w.pth').absolute()}",
        "backbone 'hrnet_w18_small': head replaced: 7 -> 2 classes",
        f"neck 'hr_fuse_scales': loaded all of its {neck} tensors from the same file",
    ]
    for part, other in ((model.backbone, source.backbone), (model.necks, source.necks)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in part.state_dict().items())


def test_a_neck_that_is_not_in_the_file_is_left_as_initialised():
    hrnet = {"type": "hrnet_w18_small", "pretrained": "./w.pth"}
    spec = load_spec({"data": {"root": "photos"}, "model": {"backbone": hrnet}})
    model = build_model(spec, Blueprint(2, (3, 32, 32)))
    torch.save(model.backbone.state_dict(), "w.pth")
    (line,) = load_pretrained(spec, model, num_classes=2)
    assert line.startswith("backbone 'hrnet_w18_small': loaded")


def test_a_page_that_was_served_instead_of_the_file_is_not_kept(model, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    torch.save(weights, "w.pth")
    files = {"w.pth": b"<html>moved</html>"}
    with serving() as serve:
        url = serve(files)
        with pytest.raises(
            CheckpointError, match=r"cannot be read as weights: it begins with '<html>moved</html>'"
        ):
            model(f"{url}/w.pth")
        serve({"w.pth": Path("w.pth").read_bytes()})
        assert same(model(f"{url}/w.pth"), weights)


def test_weights_that_are_not_finite_are_refused(model, weights, tmp_path):
    weights["layer1.0.conv1.weight"][0, 0] = float("nan")
    torch.save(weights, "w.pth")
    with pytest.raises(CheckpointError) as info:
        model("w.pth")
    assert str(info.value) == (
        f"{tmp_path}/w.pth: holds values that are not finite, in layer1.0.conv1.weight "
        "-- the file is damaged, or from a training that diverged"
    )
