"""Building: channels and classes are injected, contracts are checked, and misfits are told in words."""

import pytest
import torch

import clscli
from clscli.engine.prepare import prepare
from clscli.errors import PluginError, SpecError
from clscli.models.build import Blueprint, build_model, check_shapes
from clscli.spec import load_spec

BROKEN = """
    import torch
    from torch import nn

    class Silent(nn.Module):
        '''Say nothing of its channels.'''
        def __init__(self, in_channels: int) -> None:
            super().__init__()
        def forward(self, images):
            return images

    class Liar(Silent):
        '''Promise other channels than it gives.'''
        out_channels = 7

    class Crash(nn.Module):
        '''Fail when built.'''
        def __init__(self, in_channels: int) -> None:
            raise KeyError("oops")

    class WrongHead(nn.Module):
        '''Give one logit too many.'''
        def __init__(self, in_channels: int, num_classes: int) -> None:
            super().__init__()
            self.fc = nn.Linear(in_channels, num_classes + 1)
        def forward(self, outputs):
            return self.fc(outputs)

    class TwoHeads(nn.Module):
        '''Give two logits in training and their mean in prediction.'''
        def __init__(self, in_channels: tuple[int, ...], num_classes: int) -> None:
            super().__init__()
            self.branches = nn.ModuleList(nn.Linear(c, num_classes) for c in in_channels)
        def forward(self, outputs):
            return tuple(b(o) for b, o in zip(self.branches, outputs))

    class DataDependent(nn.Module):
        '''Decide by the numbers in the image, which the meta device does not have.'''
        def __init__(self, in_channels: int) -> None:
            super().__init__()
            self.out_channels = in_channels
            self.table = torch.ones(1)
        def forward(self, images):
            if images.sum().item() > 0:
                images = images * 2
            return images * self.table

    class NoModule:
        out_channels = 3

    class Hollow(nn.Module):
        out_channels = 3
        def __init__(self): pass

    class Lists(Silent):
        out_channels = 3
        def forward(self, images): return [images]

    class Tokens(Silent):
        out_channels = 3
        def forward(self, images): return ("images", images)
"""


@pytest.fixture
def broken(plugin):
    heads = {"wrong_head": "parts:WrongHead", "two_heads": "parts:TwoHeads"}
    backbones = {
        "silent": "parts:Silent",
        "liar": "parts:Liar",
        "crash": "parts:Crash",
        "data_dependent": "parts:DataDependent",
        "no_module": "parts:NoModule",
        "hollow": "parts:Hollow",
        "lists": "parts:Lists",
        "tokens": "parts:Tokens",
    }

    def install(kind):
        plugin(kind, **(heads if kind == "heads" else backbones), parts=BROKEN)

    return install


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "silent",
            "extra 1.0 (backbone 'silent') breaks its contract: it needs an attribute out_channels, one int or a "
            "tuple of them, one for each output, and has None",
        ),
        (
            "liar",
            "extra 1.0 (backbone 'liar') breaks its contract: "
            "out_channels says 7, but its outputs have 3 channels",
        ),
        ("crash", "extra 1.0 (backbone 'crash') failed when it was built: KeyError: 'oops'"),
        (
            "no_module",
            "extra 1.0 (backbone 'no_module') breaks its contract: it must be a torch.nn.Module, not NoModule",
        ),
        (
            "hollow",
            "extra 1.0 (backbone 'hollow') breaks its contract: its __init__ must begin with super().__init__()",
        ),
        (
            "lists",
            "extra 1.0 (backbone 'lists') breaks its contract: it must return a tensor or a tuple of tensors, "
            "not list",
        ),
        (
            "tokens",
            "extra 1.0 (backbone 'tokens') breaks its contract: it must return a tensor or a tuple of tensors, "
            "not tuple of str",
        ),
    ],
)
def test_backbones_that_break_the_contract(tiny, broken, name, message):
    broken("backbones")
    tiny["model"]["backbone"] = {"type": name}
    with pytest.raises(PluginError) as info:
        prepare(load_spec(tiny))
    assert str(info.value) == message


def test_a_backbone_that_cannot_run_on_the_meta_device_is_run_for_real(tiny, broken):
    broken("backbones")
    tiny["model"] = {"backbone": {"type": "data_dependent"}}
    plan = prepare(load_spec(tiny))
    assert plan.stages[1].shapes == ((2, 3, 20, 20),)


def test_a_head_with_the_wrong_number_of_logits(tiny, broken):
    broken("heads")
    tiny["model"]["head"] = {"type": "wrong_head"}
    with pytest.raises(PluginError) as info:
        prepare(load_spec(tiny))
    assert str(info.value) == (
        "extra 1.0 (head 'wrong_head') breaks its contract: it gives (2, 3) for 2 images and 2 classes, "
        "and should give (2, 2)"
    )


def test_all_outputs_reach_a_head_that_asks_for_all_channels(tiny, broken, pictures):
    broken("heads")
    tiny["model"]["head"] = {"type": "two_heads"}
    tiny["model"]["backbone"]["out_indices"] = [1, 3]
    tiny["train"]["epochs"] = 1
    result = clscli.train(tiny, out="run", device="cpu")
    predictor = clscli.load(result.checkpoint, device="cpu")
    assert [b.in_features for b in predictor.model.head.branches] == [8, 32]
    images = torch.zeros(3, 3, 20, 20, dtype=torch.uint8)
    with torch.no_grad():
        both = predictor.model(images)
        torch.testing.assert_close(predictor.model.predict(images), (both[0] + both[1]) / 2)


def test_classes_and_channels_come_from_the_data(tiny):
    spec = load_spec(tiny)
    model = build_model(spec, Blueprint(num_classes=7, image_shape=(1, 32, 32)))
    assert model.head.fc.out_features == 7
    assert model.backbone.conv1.in_channels == 1
    assert model.normalize.mean.shape == (1, 1, 1)
    stages = check_shapes(spec, model, Blueprint(7, (1, 32, 32)))
    assert [stage.shapes for stage in stages] == [((2, 1, 32, 32),), ((2, 32, 4, 4),), ((2, 32),), ((2, 7),)]


def test_normalisation_by_hand(tiny):
    images = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    blueprint = Blueprint(2, (3, 20, 20))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(build_model(load_spec(tiny), blueprint).normalize(images), expected)
    tiny["transforms"]["normalize"] = {"mean": [0.5], "std": [0.25]}
    own = build_model(load_spec(tiny), blueprint).normalize(images)
    torch.testing.assert_close(own, (images / 255 - 0.5) / 0.25)
    tiny["transforms"]["normalize"] = "none"
    torch.testing.assert_close(build_model(load_spec(tiny), blueprint).normalize(images), images / 255)
    tiny["transforms"]["normalize"] = {"mean": [0.5, 0.5], "std": [0.25]}
    with pytest.raises(SpecError) as info:
        build_model(load_spec(tiny), blueprint)
    assert info.value.problems == ["spec: transforms.normalize: mean has 2 values, but the images have 3 channels"]


def test_images_too_small_for_the_model(tiny):
    tiny["model"]["backbone"] = {"type": "lenet5"}
    with pytest.raises(SpecError) as info:
        prepare(load_spec(tiny))
    assert info.value.problems[0].startswith(
        "spec: model.backbone: backbone 'lenet5' cannot take what images gives, (3, 20, 20): LeNet5 needs images "
    )
