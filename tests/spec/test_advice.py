"""What a backbone suggests for the rest of a spec: taken where nothing was written, never over what was."""

from __future__ import annotations

import pytest

from clscli.errors import PluginError
from clscli.spec import load_spec, render_spec

NETS = '''
class Twice:
    """Return two vectors."""

    def __init__(self, in_channels: int, *, width: int = 8): ...

    @staticmethod
    def companions(parameters):
        return {
            "neck": [],
            "head": {"type": "stacked_linear", "mid_channels": [parameters["width"]]},
        }

class Lost(Twice):
    """Suggest a head that does not exist."""

    @staticmethod
    def companions(parameters):
        return {"head": {"type": "linnear"}}

class Wrong(Twice):
    """Suggest something that is no table."""

    @staticmethod
    def companions(parameters):
        return ["linear"]
'''


@pytest.fixture(autouse=True)
def _nets(packages):
    packages.install(
        "fastnets",
        {"backbones": {"twice": "nets:Twice", "lost": "nets:Lost", "wrong": "nets:Wrong"}},
        requires=["clscli"],
        modules={"nets": NETS},
    )


def load(backbone, **tables):
    model = tables.pop("model", {})
    return load_spec({"data": {"root": "photos"}, "model": {"backbone": backbone, **model}, **tables})


def test_neck_and_head_of_the_backbone():
    spec = load({"type": "twice", "width": 16})
    assert spec.values["model"]["neck"] == []
    head = spec.values["model"]["head"]
    assert (head["type"], head["mid_channels"]) == ("stacked_linear", [16])
    shown = render_spec(spec.values, spec.draft)
    assert "neck = []  # backbone 'fastnets:twice'" in shown
    assert "mid_channels = [16]  # backbone 'fastnets:twice'" in shown


def test_what_is_written_stays():
    model = {"head": {"type": "linear", "dropout": 0.5}, "neck": {"type": "global_average_pooling"}}
    spec = load({"type": "twice"}, model=model)
    assert spec.values["model"]["head"] == {"type": "linear", "dropout": 0.5}
    assert spec.values["model"]["neck"]["type"] == "global_average_pooling"


def test_a_parameter_of_the_default_head_keeps_the_default_head():
    spec = load({"type": "twice"}, model={"head": {"dropout": 0.5}})
    assert spec.values["model"]["head"] == {"type": "linear", "dropout": 0.5}
    assert spec.values["model"]["neck"] == []


def test_a_resolved_spec_loads_to_itself():
    values = load({"type": "twice"}).values
    assert load_spec(values).values == values


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lost", "unknown head 'linnear' -- did you mean 'linear'? (see: clscli list heads)"),
        ("wrong", "dictionary update sequence element #0 has length 6; 2 is required"),
    ],
)
def test_suggestions_that_cannot_be(name, reason):
    with pytest.raises(PluginError) as caught:
        load({"type": name})
    assert str(caught.value) == (
        f"fastnets 1.0 (backbone '{name}') breaks its contract: its companions cannot be used: {reason}"
    )


# Preprocessing of weights


def test_weights_bring_their_preprocessing():
    spec = load({"type": "resnet50", "pretrained": True})
    transforms = spec.values["transforms"]
    assert [(t["type"], t["size"], t.get("interpolation")) for t in transforms["eval"]] == [
        ("resize", 232, "bilinear"),
        ("center_crop", 224, None),
    ]
    assert transforms["normalize"] == "imagenet"
    assert transforms["train"][0]["scale"] == [0.35, 1.0]
    assert "size = 232  # weights 'IMAGENET1K_V2'" in render_spec(spec.values, spec.draft)


def test_weights_for_another_size_and_normalisation():
    spec = load({"type": "inception_v3", "pretrained": "IMAGENET1K_V1"})
    transforms = spec.values["transforms"]
    assert [t["size"] for t in transforms["eval"]] == [342, 299]
    assert transforms["train"][0]["size"] == 299
    assert transforms["normalize"] == {"mean": [0.5], "std": [0.5]}


def test_the_position_embedding_has_the_size_of_the_weights():
    large = load({"type": "vit_b_16", "pretrained": "IMAGENET1K_SWAG_E2E_V1"})
    assert large.values["model"]["backbone"]["image_size"] == 384
    assert [t["size"] for t in large.values["transforms"]["eval"]] == [384, 384]
    own = load({"type": "vit_b_16", "pretrained": "IMAGENET1K_SWAG_E2E_V1", "image_size": 96})
    assert own.values["model"]["backbone"]["image_size"] == 96


@pytest.mark.parametrize("pretrained", [False, "weights.pth", "https://example.org/w.pth"])
def test_without_published_weights_the_defaults_stay(pretrained):
    spec = load({"type": "resnet50", "pretrained": pretrained})
    assert spec.values["transforms"] == load({"type": "resnet50"}).values["transforms"]


def test_transforms_that_were_written_stay():
    written = {"eval": [{"type": "resize", "size": 64}], "normalize": "none"}
    spec = load({"type": "resnet50", "pretrained": True}, transforms=written)
    assert spec.values["transforms"]["eval"][0]["size"] == 64
    assert spec.values["transforms"]["normalize"] == "none"


def test_one_changed_transform_keeps_its_pipeline():
    source = {"data": {"root": "photos"}, "model": {"backbone": {"type": "resnet50", "pretrained": True}}}
    spec = load_spec(source, sets=["transforms.eval.0.size=300"])
    assert [t["size"] for t in spec.values["transforms"]["eval"]] == [300, 224]
