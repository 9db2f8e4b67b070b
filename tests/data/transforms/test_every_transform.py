"""What is true of every built-in transform: found by its entry point, and kept to the contract."""

import inspect
import multiprocessing
import pickle
import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from clscli.data.pipeline import build_transforms
from clscli.errors import SpecError
from clscli.plugins import find_components, load
from clscli.seeds import augmenting
from clscli.signature import REQUIRED, read_parameters
from clscli.spec import load_spec

CONSTANT = {"resize", "center_crop", "pad", "grayscale"}
BUILT_IN = {c.name: c for c in find_components("transforms") if c.is_core}
# All but those that are built of other transforms.
NAMES = sorted(set(BUILT_IN) - {"random_apply", "random_choice", "random_order"})
RANDOM = sorted(set(NAMES) - CONSTANT)
SMALLER = {"random_resized_crop": {"size": 24}, "center_crop": {"size": 24}, "resize": {"size": 32}}
SMALLER |= {"random_resize": {"min_size": 20, "max_size": 30}, "scale_jitter": {"target_size": [40, 50]}}
SMALLER |= {"random_shortest_size": {"min_size": [20, 24, 28]}}


def build(name: str):
    return load(BUILT_IN[name])(**SMALLER.get(name, {}))


def noise(channels: int = 3) -> torch.Tensor:
    """Make an image of 40 x 50 as the decoder leaves it: its channels last in memory."""
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (40, 50, channels), dtype=torch.uint8, generator=generator).permute(2, 0, 1)


def draws(transform, image: torch.Tensor, num_draws: int = 6) -> list[torch.Tensor]:
    results = []
    for epoch in range(num_draws):
        with augmenting(0, epoch, 7):
            results.append(transform(image))
    return results


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_transform_keeps_the_contract(name, channels):
    image = noise(channels)
    for result in draws(build(name), image):
        assert result.dtype == torch.uint8
        assert result.ndim == 3
        assert result.shape[0] == (1 if name == "grayscale" else channels)
    assert torch.equal(image, noise(channels)), "it wrote into its input"


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_in_memory_changes_nothing(name):
    transform = build(name)
    assert all(map(torch.equal, draws(transform, noise()), draws(transform, noise().contiguous())))


@pytest.mark.parametrize("name", NAMES)
def test_every_transform_is_a_function_of_the_draw_alone_also_after_pickling(name):
    expected = draws(build(name), noise())
    copy = pickle.loads(pickle.dumps(build(name)))
    copy(noise())  # used before, in another state of all generators
    for epoch, wanted in enumerate(expected):
        with augmenting(0, epoch, 7):
            random.seed(epoch + 1)
            np.random.seed(epoch + 2)
            assert torch.equal(copy(noise()), wanted)


def _digests(names: list[str]) -> list[bytes]:
    torch.set_num_threads(1)
    return [bytes(d.contiguous().flatten().tolist()) for n in names for d in draws(build(n), noise(), 2)]


@pytest.mark.slow
def test_every_transform_does_the_same_in_a_process_of_its_own():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_digests, (NAMES,)) == _digests(NAMES)


@pytest.mark.parametrize("name", RANDOM)
def test_a_random_transform_in_evaluation_is_refused_by_name(name):
    spec = load_spec({"data": {"root": "x"}, "transforms": {"eval": [{"type": name}]}})
    with pytest.raises(SpecError) as error:
        build_transforms(spec, "val")
    assert str(error.value) == (
        f"spec: transforms.eval.0: transform '{name}' is random "
        "-- in evaluation every picture must look the same every time"
    )


@pytest.mark.parametrize("name", sorted(CONSTANT))
def test_the_others_may_evaluate(name):
    spec = load_spec({"data": {"root": "x"}, "transforms": {"eval": [{"type": name}]}})
    assert len(build_transforms(spec, "val")) == 1


def test_a_transform_that_does_but_rarely_anything_is_random():
    table = {"type": "random_grayscale", "p": 1e-6}
    with pytest.raises(SpecError, match="transform 'random_grayscale' is random"):
        build_transforms(load_spec({"data": {"root": "x"}, "transforms": {"eval": [table]}}), "val")


@pytest.mark.parametrize("name", ["random_equalize", "random_autocontrast", "random_grayscale", "random_invert"])
def test_a_transform_that_is_certain_is_not_random(name):
    spec = load_spec({"data": {"root": "x"}, "transforms": {"eval": [{"type": name, "p": 1.0}]}})
    assert len(build_transforms(spec, "val")) == 1


# Where a recipe's value is the better default, or torchvision's means something else here.
OTHER_DEFAULTS = {
    ("random_erasing", "p"),  # timm's; torchvision's recipes set 0.1
    ("color_jitter", "brightness"),
    ("color_jitter", "contrast"),
    ("color_jitter", "saturation"),
    ("color_jitter", "hue"),  # torchvision's None changes nothing at all
    ("random_crop", "padding"),
    ("random_affine", "translate"),
    ("random_affine", "scale"),
    ("random_affine", "shear"),  # None, for what zeros and ones say
    ("aug_mix", "chain_depth"),  # -1
}


def in_torchvision(name: str) -> str:
    return {"jpeg": "JPEG"}.get(name, "".join(word.title() for word in name.split("_")))


def test_defaults_are_torchvisions():
    other = set()
    for name in NAMES:
        theirs = getattr(v2, in_torchvision(name), None)
        if theirs is None:
            continue
        defaults = inspect.signature(theirs).parameters
        for parameter in read_parameters(load(BUILT_IN[name]), ("split",)):
            if parameter.name not in defaults:
                assert name == "resize"  # which can do more
                continue
            default = defaults[parameter.name].default
            if default is inspect.Parameter.empty or parameter.default is REQUIRED:
                continue
            if parameter.name in ("interpolation", "policy"):
                default = default if isinstance(default, str) else default.value
            if parameter.default != default:
                other.add((name, parameter.name))
    assert other == OTHER_DEFAULTS


# What torchvision has for other tasks, for tensors that are no images, or in several images for one.
LEFT_OUT = {
    *("ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "SanitizeBoundingBoxes"),
    *("SanitizeKeyPoints", "SetClampingMode", "RandomIoUCrop", "UniformTemporalSubsample"),
    *("ConvertImageDtype", "ToDtype", "ToImage", "ToPILImage", "ToPureTensor", "ToTensor", "PILToTensor", "RGB"),
    *("Compose", "Identity", "Lambda", "Transform", "LinearTransformation", "Normalize"),
    *("FiveCrop", "TenCrop"),
    *("MixUp", "CutMix"),  # batch transforms
    *("RandomApply", "RandomChoice", "RandomOrder"),  # built of other transforms
}


def test_all_that_torchvision_has_for_images_is_here():
    classes = {n for n, c in vars(v2).items() if inspect.isclass(c) and issubclass(c, v2.Transform)}
    assert classes - {in_torchvision(name) for name in NAMES} - LEFT_OUT == set()
