"""Published weights: from the data file next to a backbone, from torchvision, and as the user sees them."""

import functools
import subprocess
import sys
import warnings
from importlib import resources

import pytest
import torch
from torchvision import models

from clscli import plugins
from clscli.errors import PluginError
from clscli.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Normalize
from clscli.models.matching import match_weights
from clscli.models.published import Weights, chosen_weights, preprocessing, published, read_data_file
from clscli.reports.component import describe_component

TINY = """
from torch import nn

class Tiny(nn.Module):
    '''Draw conclusions quickly.'''

    def __init__(self, in_channels: int, *, width: int = 8):
        super().__init__()
        self.out_channels = width
"""
ENTRY = """
[[tiny]]
name = "fast_v1"
url = "https://fast.example/tiny-0123abcd.pth"
sha256 = "0123abcd"
licence = "MIT"
source = "the authors"
"""


def ours(name):
    return plugins.resolve("backbones", name)


@pytest.fixture
def fastnets(packages, monkeypatch):
    """Install a package `fastnets` with a backbone `tiny` and a data file of this text; gives the component."""

    def install(text, value="fastnets.vit:Tiny"):
        site = packages.install("fastnets", {"backbones": {"tiny": value}}, version="0.3")
        for name in [name for name in sys.modules if name.partition(".")[0] == "fastnets"]:
            monkeypatch.delitem(sys.modules, name)
        (site / "fastnets").mkdir()
        (site / "fastnets" / "__init__.py").write_text(TINY if value.startswith("fastnets:") else "")
        (site / "fastnets" / "vit.py").write_text(TINY)
        if text is not None:
            (site / "fastnets" / "weights.toml").write_text(text)
        read_cached.cache_clear()
        return ours("fastnets:tiny")

    from clscli.models.published import _read as read_cached

    yield install
    read_cached.cache_clear()


def test_torchvision_s_weights_of_a_backbone_of_ours():
    first, second = published(ours("resnet50"))
    assert first == Weights(
        name="IMAGENET1K_V2",
        urls=("https://download.pytorch.org/models/resnet50-11ad3fa6.pth",),
        sha256="11ad3fa6",
        licence="BSD-3-Clause",
        source="torchvision",
        bytes=102540247,
        top1=0.80858,
        input_size=224,
        resize_size=232,
        interpolation="bilinear",
    )
    assert (second.name, second.top1, second.resize_size) == ("IMAGENET1K_V1", 0.7613, 256)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_inceptions_were_trained_on_pixels_from_minus_one_to_one(name):
    """torchvision's transforms for them normalise as for ImageNet, and the models undo it."""
    model = getattr(models, name)(transform_input=True, init_weights=False)
    pixels = torch.rand(1, 3, 4, 4)
    imagenet = Normalize(IMAGENET_MEAN, IMAGENET_STD)(pixels * 255)
    asked = preprocessing(published(ours(name))[0])["normalize"]
    torch.testing.assert_close(
        Normalize(asked["mean"], asked["std"])(pixels * 255), model._transform_input(imagenet)
    )


def test_licences():
    weights = {w.name: w for w in published(ours("vit_b_16"))}
    assert list(weights) == ["IMAGENET1K_V1", "IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1"]
    assert [w.is_non_commercial for w in weights.values()] == [False, True, True]
    swag = weights["IMAGENET1K_SWAG_E2E_V1"]
    assert (swag.licence, swag.input_size, swag.interpolation) == ("CC-BY-NC-4.0", 384, "bicubic")


def test_accuracy_that_is_not_stated():
    assert [w.top1 for w in published(ours("vgg16")) if w.name == "IMAGENET1K_FEATURES"] == [None]


def test_a_backbone_without_weights():
    assert published(ours("lenet5")) == []


def test_preprocessing():
    assert preprocessing(published(ours("resnet50"))[0]) == {
        "normalize": "imagenet",
        "resize": 232,
        "crop": 224,
        "interpolation": "bilinear",
    }


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (True, "IMAGENET1K_V2"),
        ("IMAGENET1K_V1", "IMAGENET1K_V1"),
        (False, None),
        ("IMAGENET1K_V9", None),
        ("/weights/IMAGENET1K_V1", None),
        ("https://host/w.pth", None),
        ("C:\\w.pth", None),
    ],
)
def test_the_chosen_weights(wanted, name):
    weights = chosen_weights(ours("resnet50"), wanted, {})
    assert (weights.name if weights else None) == name


def test_our_data_file_names_backbones_of_ours():
    tables = read_data_file(ours("resnet18"))
    known = {c.name for c in plugins.find_components("backbones") if c.is_core}
    assert tables.keys() <= known
    assert len(tables) > 5
    for name, weights in tables.items():
        for record in weights:
            assert record.urls[0].endswith(f"-{record.sha256}.pth"), name
            assert record.is_non_commercial is False


def test_our_data_file_says_nothing_of_torchvision_s_models():
    """Torchvision is asked only for backbones without a table."""
    from torchvision import models

    assert not read_data_file(ours("resnet18")).keys() & set(models.list_models(models))


def test_weights_of_the_data_file_are_chosen_without_torch():
    name = next(iter(read_data_file(ours("resnet18"))))
    code = (
        "import sys; from clscli.models.published import chosen_weights, preprocessing; "
        f"from clscli.plugins import resolve; w = chosen_weights(resolve('backbones', {name!r}), True, {{}}); "
        "print(w.name, preprocessing(w)['crop'], {'torch', 'torchvision'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.stderr) == ("mmpretrain_in1k 224 set()\n", "")


@pytest.mark.slow
@pytest.mark.mmpretrain
def test_mmpretrain_s_weights_fit_the_backbones_they_are_listed_for(monkeypatch):
    # Its models ask torch.linspace for drop rates as they are built, and the meta device has no numbers.
    monkeypatch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        get_model = pytest.importorskip("mmpretrain", exc_type=ImportError).get_model
        for name, weights in read_data_file(ours("resnet18")).items():
            with torch.device("meta"):
                theirs = get_model(weights[0].source.removeprefix("mmpretrain: "), pretrained=False)
                backbone = plugins.load(ours(name))(in_channels=3)
            match = match_weights(theirs.state_dict(), backbone)
            assert (name, match.missing, match.misshapen, match.adapted) == (name, [], [], {})
            left = [key for key in match.unused if not key.startswith(("head.", "neck."))]
            assert (name, left) == (name, [])


def test_a_package_s_own_data_file(fastnets):
    component = fastnets(
        ENTRY + "top1 = 0.75\ninput_size = 192\nmean = [0.5]\nstd = [0.5]\n[[other]]\n" + ENTRY[9:]
    )
    assert published(component) == [
        Weights(
            name="fast_v1",
            urls=("https://fast.example/tiny-0123abcd.pth",),
            sha256="0123abcd",
            licence="MIT",
            source="the authors",
            top1=0.75,
            input_size=192,
            mean=(0.5,),
            std=(0.5,),
        )
    ]


def test_a_package_that_is_one_module_with_its_data_file(fastnets):
    assert published(fastnets(ENTRY, "fastnets:Tiny"))[0].name == "fast_v1"


def test_a_package_without_a_data_file(fastnets):
    assert published(fastnets(None)) == []


def test_several_urls(fastnets):
    text = ENTRY.replace(
        'url = "https://fast.example/tiny-0123abcd.pth"', 'url = ["https://a/x.pth", "https://b/x.pth"]'
    )
    assert published(fastnets(text))[0].urls == ("https://a/x.pth", "https://b/x.pth")


def test_weights_for_some_values_of_a_parameter(fastnets):
    wide = ENTRY.replace("fast_v1", "wide_v1") + "parameters = { width = 16, grid = [2, 3] }\n"
    component = fastnets(wide + ENTRY)
    assert [w.name for w in published(component)] == ["wide_v1", "fast_v1"]
    assert chosen_weights(component, True, {"width": 16, "grid": [2, 3]}).name == "wide_v1"
    assert chosen_weights(component, True, {"width": 8, "grid": [2, 3]}).name == "fast_v1"
    assert chosen_weights(component, "wide_v1", {"width": 8}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[tiny]\n", "cannot be read: Expected ']]' at the end of an array declaration (at line 1, column 7)"),
        (ENTRY.replace("url =", "ulr ="), "tiny.0.ulr: no key 'ulr' -- did you mean 'url'?"),
        (ENTRY.replace("url =", "ulr ="), "tiny.0.url: is required"),
        (ENTRY + "top1 = 77.5\n", "tiny.0.top1: must be less than 1.0, got 77.5"),
        (ENTRY + 'input_size = "224"\n', 'tiny.0.input_size: must be an integer, got "224"'),
        (ENTRY.replace("0123abcd", "0123"), "tiny.0.sha256: "),
        (ENTRY.replace('"https://fast.example/tiny-0123abcd.pth"', "[]"), "tiny.0.url: "),
        (ENTRY.replace('"https://fast.example/tiny-0123abcd.pth"', "3"), "tiny.0.url: must be a list, got 3"),
        ('[tiny]\nname = "x"\n', "tiny: must be a list, got "),
        (ENTRY + ENTRY, "tiny: two weights have the same name"),
    ],
)
def test_a_broken_data_file(fastnets, text, message):
    component = fastnets(text)
    with pytest.raises(PluginError) as info:
        published(component)
    assert str(info.value).startswith("fastnets 0.3: ")
    assert f"/fastnets/weights.toml: {message}" in str(info.value)
    assert chosen_weights(component, "/some/file.pth", {}) is None  # who does not ask is not told
    assert f"published weights cannot be shown: {info.value}" in describe_component(component)


def test_a_package_that_cannot_be_imported(fastnets, tmp_path):
    component = fastnets(ENTRY)
    next(tmp_path.glob("installed/*/fastnets/__init__.py")).write_text("1 / 0")
    with pytest.raises(PluginError, match=r"cannot be imported: ZeroDivisionError: division by zero$"):
        published(component)


def test_what_a_user_sees(fastnets):
    text = describe_component(ours("vit_b_16")).split("\n\n")[-1]
    assert text.splitlines() == [
        "WEIGHTS                      TOP-1     MB  INPUT    LICENCE       SOURCE",
        "IMAGENET1K_V1              81.07 %  346.3  224x224  BSD-3-Clause  torchvision",
        "IMAGENET1K_SWAG_E2E_V1     85.30 %  347.5  384x384  CC-BY-NC-4.0  torchvision",
        "IMAGENET1K_SWAG_LINEAR_V1  81.89 %  346.3  224x224  CC-BY-NC-4.0  torchvision",
    ]
    assert "WEIGHTS" not in describe_component(ours("lenet5"))
    text = describe_component(fastnets(ENTRY)).split("\n\n")[-1]
    assert text.splitlines()[1].split(maxsplit=5) == ["fast_v1", "-", "-", "224x224", "MIT", "the authors"]


def test_the_data_file_is_shipped():
    assert resources.files("clscli.models.backbones").joinpath("weights.toml").is_file()
