"""A backbone that knows published weights itself, by its attribute `published_weights`."""

import pytest
import torch

from clscli import plugins
from clscli.errors import PluginError
from clscli.models.build import Blueprint, build_model
from clscli.models.published import published
from clscli.models.weights import load_pretrained
from clscli.spec import load_spec

SOURCE = """
    from pathlib import Path
    from clscli.models.published import Weights
    from torch import nn

    class Own(Weights):
        urls: tuple[str, ...] = ()
        sha256: str = ""
        def fetch(self, progress=None):
            return Path("own.pth")

    class Net(nn.Conv2d):
        def __init__(self, in_channels: int, *, width: int = 4):
            super().__init__(in_channels, width, 1)

        @staticmethod
        def published_weights(parameters):
            {body}
    """
GOOD = (
    'return [Own(name=f"w{parameters.get(\'width\')}", licence="fair-noncommercial-research-license", '
    'source="us", squash=True, input_size=64, resize_size=72, mean=(0.5,), std=(0.5,))]'
)


@pytest.fixture
def net(plugin):
    def install(body=GOOD):
        plugin("backbones", net="own_weights_net:Net", own_weights_net=SOURCE.replace("{body}", body))
        return plugins.resolve("backbones", "net")

    return install


def test_they_are_listed_for_the_parameters_that_a_spec_gives(net):
    component = net()
    assert [w.name for w in published(component)] == ["wNone"]
    (weights,) = published(component, {"width": 8})
    assert (weights.name, weights.is_non_commercial) == ("w8", True)


def test_they_are_loaded_and_pictures_prepared_for_them(net, tiny):
    net()
    torch.save({"weight": torch.full((4, 3, 1, 1), 2.0), "bias": torch.full((4,), 3.0)}, "own.pth")
    tiny["model"] = {"backbone": {"type": "net", "pretrained": True}}
    tiny["transforms"] = {}
    spec = load_spec(tiny)
    assert spec.values["transforms"]["normalize"] == {"mean": [0.5], "std": [0.5]}
    resize, crop = spec.values["transforms"]["eval"]
    assert (resize["size"], resize["mode"], crop["size"]) == (72, "squash", 64)
    model = build_model(spec, Blueprint(num_classes=2, image_shape=(3, 64, 64)))
    assert load_pretrained(spec, model, num_classes=2) == [
        "backbone 'extra:net': loaded 2 of 2 tensors from w4 (us)",
        "backbone 'extra:net': warning: the weights w4 are not for commercial use: "
        "fair-noncommercial-research-license",
    ]
    assert model.backbone.weight.unique().tolist() == [2.0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "cannot tell its published weights: ZeroDivisionError: division by zero"),
        (
            "return ['w1']",
            "breaks its contract: its published_weights are clscli.models.published.Weights, got str",
        ),
    ],
)
def test_what_is_wrong_with_them_is_the_package_s_fault(net, body, message):
    with pytest.raises(PluginError) as caught:
        published(net(body))
    assert str(caught.value) == f"extra 1.0 (backbone 'net') {message}"
