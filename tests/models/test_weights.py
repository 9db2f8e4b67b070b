"""Pretrained weights: from files and URLs, with a report of what was loaded."""

import hashlib
import http.server
import threading
from typing import NamedTuple

import pytest
import torch
from torch import nn

import clscli
from clscli.engine.prepare import prepare
from clscli.errors import CheckpointError, SpecError
from clscli.models.weights import load_pretrained
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
        backbone = prepare(spec).model.backbone
        return Loaded(backbone, load_pretrained(spec, backbone))

    return build


@pytest.fixture
def weights(tiny):
    """The weights of another tiny backbone, every value different, with a head that is not wanted."""
    state = prepare(load_spec(tiny | {"seed": 5})).model.backbone.state_dict()
    state = {k: v + 0.5 if v.is_floating_point() else v + 3 for k, v in state.items()}
    return {**state, "fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)}


def same(model, weights):
    return all(torch.equal(value, weights[name]) for name, value in model.backbone.state_dict().items())


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}}])
def test_a_file_whatever_its_wrapping(model, weights, tmp_path, wrap):
    torch.save(wrap(weights), "w.pth")
    loaded = model("./w.pth")
    assert same(loaded, weights)
    total = len(weights) - 2
    assert loaded.lines == [
        f"backbone 'resnet18': loaded {total} of {total} tensors from {tmp_path}/w.pth",
        "backbone 'resnet18': not used: fc.weight, fc.bias",
    ]


def test_a_checkpoint_of_clsclis(model, trained):
    loaded = model(str(trained / "best.pth"))
    saved = torch.load(trained / "best.pth", weights_only=True)["weights"]
    assert same(loaded, {k.removeprefix("backbone."): v for k, v in saved.items()})


def test_tensors_that_do_not_fit_are_named(model, weights):
    weights["conv1.weight"] = torch.zeros(4, 1, 3, 3)
    del weights["bn1.bias"]
    torch.save(weights, "w.pth")
    assert model("w.pth").lines[1:3] == [
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
def server(tmp_path, monkeypatch):
    """Serve the test's folder on 127.0.0.1, and download into a cache of the test's own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_a_url_is_downloaded_once_and_checked(model, weights, server, tmp_path):
    torch.save(weights, "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "w.pth").rename(tmp_path / f"w-{digest}.pth")
    assert same(model(f"{server}/w-{digest}.pth"), weights)
    (tmp_path / f"w-{digest}.pth").unlink()
    assert same(model(f"{server}/w-{digest}.pth"), weights)  # from the cache

    torch.save(weights, "w-00000000.pth")
    with pytest.raises(CheckpointError, match=r"w-00000000\.pth: cannot be read as weights: invalid hash value"):
        model(f"{server}/w-00000000.pth")


def test_a_file_url(model, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    torch.save(weights, "w.pth")
    assert same(model((tmp_path / "w.pth").as_uri()), weights)


def test_without_a_network_the_message_says_where_to_put_the_file(model, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError) as info:
        model("http://127.0.0.1:9/w.pth")
    assert str(info.value) == (
        "http://127.0.0.1:9/w.pth: cannot be downloaded: [Errno 111] Connection refused "
        f"-- without a network, put the file at {tmp_path}/hub/hub/checkpoints/w.pth"
    )


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


def test_a_bomb_is_not_loaded(model, tmp_path):
    import os

    class Bomb:
        def __reduce__(self):
            return os.mkdir, ("gone-off",)

    torch.save({"x": Bomb()}, "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: holds more than tensors, and is not loaded for safety$"):
        model("w.pth")
    assert not (tmp_path / "gone-off").exists()
