"""timm's models as backbones: their outputs, their size, their weights, and a run from a spec to a prediction."""

import pytest
import timm
import torch
from conftest import MODEL
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import load_state_dict

import clscli
from clscli.engine.checkpoint import load_checkpoint
from clscli.errors import CheckpointError
from clscli.models.build import Blueprint, build_model
from clscli.models.matching import match_weights
from clscli.models.weights import load_pretrained
from clscli.plugins import load, resolve
from clscli.spec import load_spec
from clscli.testing import check_component

# One for each of the families that are used most; of other kinds of stems, tokens, norms and heads.
ARCHITECTURES = [
    "beit_base_patch16_224", "gernet_s", "coat_tiny", "convnext_atto", "cs3darknet_s", "davit_tiny",
    "densenet121", "dla34", "edgenext_small", "efficientnet_b0", "efficientvit_b0", "eva02_tiny_patch14_224",
    "fastvit_t8", "focalnet_tiny_srf", "ghostnet_050", "hrnet_w18_small", "inception_v3", "mixer_s32_224",
    "mobilenetv3_small_050", "mobilevit_xxs", "nfnet_f0", "pvt_v2_b0", "regnetx_002", "resnet18", "resnetv2_50",
    "swin_tiny_patch4_window7_224", "vgg11", "vit_tiny_patch16_224", "xcit_nano_12_p16_224",
]  # fmt: skip


def make(name, in_channels=3, **parameters):
    return load(resolve("backbones", f"timm/{name}"))(in_channels=in_channels, **parameters)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_channels_maps_and_number_of_parameters(name):
    """On the meta device, which computes shapes and no numbers."""
    with torch.device("meta"):
        whole, vector = timm.create_model(name), make(name).eval()
        images = torch.empty(2, *whole.pretrained_cfg["input_size"])
        maps = make(name, out_indices=(0, -1)).eval()
    with torch.no_grad():
        assert vector(images).shape == (2, vector.out_channels)
        assert tuple(output.shape[1] for output in maps(images)) == maps.out_channels
    assert all(output.ndim == 4 for output in maps(images))
    linear = (vector.out_channels + 1) * whole.num_classes
    assert count(vector) + linear == count(whole)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "out_indices"), [("test_resnet", []), ("test_vit", [0, -1])])
def test_the_contract_of_clscli(name, out_indices):
    check_component("backbones", f"timm/{name}", out_indices=out_indices)


def test_channels_and_size_of_pictures():
    backbone = make("test_vit", in_channels=1, image_size=64, drop_path_rate=0.1)
    assert backbone(torch.zeros(2, 1, 64, 64)).shape == (2, backbone.out_channels)


def test_a_model_by_parameter():
    named, given = make("test_resnet"), load(resolve("backbones", "timm"))(in_channels=3, model="test_resnet")
    assert {k: v.shape for k, v in named.state_dict().items()} == {
        k: v.shape for k, v in given.state_dict().items()
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"model": "resnet19"},
            f"timm {timm.__version__} has no model 'resnet19' -- see: clscli list backbones 'timm/*'",
        ),
        (
            {"model": "test_resnet", "out_indices": (7,)},
            "out_indices of timm's test_resnet are from 0 to 4, got [7]",
        ),
        ({"model": "vgg11", "drop_path_rate": 0.1}, "timm's vgg11 has no drop_path_rate -- remove it"),
    ],
)
def test_what_cannot_be_built(parameters, message):
    with pytest.raises(ValueError, match="timm") as caught:
        load(resolve("backbones", "timm"))(in_channels=3, **parameters)
    assert str(caught.value) == message


# Weights


def published(name):
    return load(resolve("backbones", f"timm/{name}")).published_weights({})


def test_weights_say_what_timm_says_of_them():
    (first, *others) = published("resnet18")
    assert (first.name, first.licence, first.input_size, first.resize_size) == ("a1_in1k", "apache-2.0", 224, 235)
    assert (first.interpolation, first.source) == ("bicubic", "timm, timm/resnet18.a1_in1k")
    assert {w.name for w in others if w.is_non_commercial} == {"fb_ssl_yfcc100m_ft_in1k", "fb_swsl_ig1b_ft_in1k"}
    assert [w.name for w in published("resnet18.tv_in1k")] == ["tv_in1k"]
    assert published("convnext_tiny.in12k_ft_in1k_384")[0].squash
    assert all(published(name) for name in timm.list_models("*resnet*", pretrained=True))


def test_pretrained_is_what_timm_loads_itself(weights, spec):
    resolved = load_spec(spec | {"model": {"backbone": {"type": f"timm/{MODEL}", "pretrained": True}}})
    model = build_model(resolved, Blueprint(num_classes=2, image_shape=(3, 160, 160)))
    lines = load_pretrained(resolved, model, num_classes=2)
    total = len(model.backbone.state_dict())
    name = MODEL.partition(".")[2]
    assert lines[0] == (
        f"backbone 'clscli-timm:timm/{MODEL}': loaded {total} of {total} tensors from {name} (timm, timm/{MODEL})"
    )
    assert lines[1] == f"backbone 'clscli-timm:timm/{MODEL}': head replaced: 1000 -> 2 classes"
    theirs = timm.create_model(
        MODEL, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(weights)}
    )
    assert_equal(model.backbone.model, theirs)
    assert resolved.values["transforms"]["normalize"] == {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    assert resolved.values["transforms"]["eval"][1]["size"] == 160
    assert resolved.values["model"]["backbone"]["image_size"] == 160


def assert_equal(ours, theirs):
    own = ours.state_dict()
    assert own.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        torch.testing.assert_close(own[key], tensor, rtol=0, atol=0)


def test_weights_for_pictures_of_another_size_and_channels_are_fitted_as_timm_does(weights):
    ours = make(MODEL, in_channels=1, image_size=96)
    match = match_weights(load_state_dict(weights), ours)
    assert match.missing == match.misshapen == []
    ours.load_state_dict(match.fitting)
    overlay = {"file": str(weights)}
    theirs = timm.create_model(
        MODEL, pretrained=True, num_classes=0, in_chans=1, img_size=96, pretrained_cfg_overlay=overlay
    )
    assert_equal(ours.model, theirs)


def test_weights_of_another_model_are_refused(weights, spec):
    backbone = {"type": "timm/test_resnet", "pretrained": str(weights)}
    resolved = load_spec(spec | {"model": {"backbone": backbone}})
    model = build_model(resolved, Blueprint(num_classes=2, image_shape=(3, 160, 160)))
    with pytest.raises(CheckpointError, match="these are weights of another model"):
        load_pretrained(resolved, model, num_classes=2)


def test_weights_that_cannot_be_had(hub):
    with pytest.raises(CheckpointError) as caught:
        published("resnet18.tv_in1k")[0].fetch()
    assert str(caught.value).startswith(
        "https://huggingface.co/timm/resnet18.tv_in1k: cannot be downloaded: Local"
    )
    assert str(caught.value).endswith(
        '-- without a network, give a file from another machine: pretrained = "FILE"'
    )


# A run


def test_a_run_from_a_spec_to_a_prediction_that_agrees_with_timm(weights, spec, tmp_path):
    spec["model"] = {"backbone": {"type": f"timm/{MODEL}", "pretrained": True}}
    result = clscli.train(spec, out=tmp_path / "run", device="cpu")
    checkpoint = load_checkpoint(result.checkpoint)
    theirs = timm.create_model(MODEL, num_classes=2).eval()
    state = {name.removeprefix("backbone.model."): tensor for name, tensor in checkpoint.weights.items()}
    head = {f"head.{name.rpartition('.')[2]}": t for name, t in state.items() if name.startswith("head.")}
    theirs.load_state_dict({name: t for name, t in state.items() if not name.startswith("head.")} | head)
    transform = create_transform(**resolve_data_config({}, model=theirs))
    predictor = clscli.load(result.checkpoint, device="cpu")
    for path in sorted((tmp_path / "pictures/val").rglob("*.png")):
        with torch.no_grad():
            expected = theirs(transform(Image.open(path).convert("RGB"))[None]).softmax(1)[0]
        found = {score.name: score.score for score in predictor.predict(path).scores}
        # Pillow and torch round a resized pixel differently.
        assert [found[name] for name in checkpoint.classes] == pytest.approx(expected.tolist(), abs=0.01)
