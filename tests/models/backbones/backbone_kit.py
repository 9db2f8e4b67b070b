"""What the tests of backbones share: the facts of a family, building one, and agreement with a reference."""

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import families
import pytest
import torch
from importlib_metadata import entry_points
from torch import Tensor, nn

from clscli.models.matching import match_weights

ENTRIES = {
    entry.name: entry
    for entry in entry_points(group="clscli.backbones")
    if entry.dist is not None and entry.dist.name == "clscli"
}


@dataclass(frozen=True)
class Family:
    """What the common tests need to know of one family of backbones."""

    # Every variant: the parameters of the backbone, and of the classifier for 1000 classes that a spec
    # without neck and head gets.
    sizes: Mapping[str, tuple[int, int]]
    # Of some variants, every stage's output for images of `stages_at` pixels: (C, H = W), or (C,) for a vector.
    stages: Mapping[str, list[tuple[int, ...]]]
    # A cheap member: the name of a variant, the parameters that make it tiny, and the smallest sensible image.
    member: str
    small: Mapping[str, Any] = field(default_factory=dict)
    image_size: int = 32
    stages_at: int = 64
    has_batch_norm: bool = True


def all_families() -> dict[str, Family]:
    """Import every module of `families`, and return its FAMILY by the module's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(families.__path__))
    return {name: importlib.import_module(f"families.{name}").FAMILY for name in names}


def timm_model(name: str, **parameters: Any) -> nn.Module:
    """Build timm's model with random weights; the test is skipped where timm is not installed."""
    timm = pytest.importorskip("timm")
    return timm.create_model(name, pretrained=False, **parameters)


def mmpretrain_backbone(type: str, **parameters: Any) -> nn.Module:
    """Build mmpretrain's backbone with random weights; the test is skipped where mmpretrain is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = pytest.importorskip("mmpretrain.models", exc_type=ImportError)
        return models.build_backbone({"type": type, **parameters})


def build(name: str, in_channels: int = 3, *, device: str = "cpu", **parameters: Any) -> nn.Module:
    torch.manual_seed(0)
    with torch.device(device):
        return ENTRIES[name].load()(in_channels, **parameters)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def shapes(outputs: Any) -> list[tuple[int, ...]]:
    return [tuple(output.shape) for output in as_tuple(outputs)]


def materialise(model: nn.Module) -> nn.Module:
    """Fill a model with weights and statistics that leave no layer without effect.

    In float64 and evaluation mode, so that the order of sums does not matter.
    """
    model.double()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                if name.endswith("num_batches_tracked"):
                    tensor.zero_()
            elif name.endswith("running_var") or (
                tensor.ndim == 1 and not name.endswith(("bias", "running_mean"))
            ):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1:
                tensor.normal_(std=0.1)
            else:
                tensor.normal_(std=min(0.5, (1 / tensor[0].numel()) ** 0.5))
    model.eval()  # of which mmpretrain's returns nothing
    return model


def transplant(reference: nn.Module, backbone: nn.Module) -> nn.Module:
    """Give a backbone the reference's weights, through its key maps; every one of its tensors must get one."""
    match = match_weights(reference.state_dict(), backbone)
    assert match.missing == []
    assert match.misshapen == []
    backbone.double().load_state_dict(match.fitting, strict=False)
    return backbone.eval()


def agree(
    reference: nn.Module,
    backbone: nn.Module,
    sizes: tuple[int, int],
    *,
    theirs: Callable[[nn.Module, Tensor], Any] | None = None,
    ours: Callable[[nn.Module, Tensor], Any] | None = None,
) -> None:
    """Assert that a backbone computes what the reference does with the same weights, for two image sizes.

    `theirs` and `ours` call a model on images (2, 3, size, size) and return what is to be the same; without
    them the models are called.
    """
    reference = materialise(reference)
    backbone = transplant(reference, backbone)
    for size in sizes:
        images = torch.rand(2, 3, size, size, dtype=torch.float64)
        with torch.inference_mode():
            expected = as_tuple(theirs(reference, images) if theirs else reference(images))
            outputs = as_tuple(ours(backbone, images) if ours else backbone(images))
        assert len(outputs) == len(expected)
        for output, wanted in zip(outputs, expected, strict=True):
            assert wanted.std() > 1e-3, "the comparison would not see a difference"
            torch.testing.assert_close(output, wanted, rtol=1e-6, atol=1e-6)
