"""clscli's own components keep the contracts that it asks of others: the same kit, one test for each component."""

import sys
from pathlib import Path

import pytest
import torch

from clscli.plugins import find_components
from clscli.testing import Inputs, check_component

sys.path.append(str(Path(__file__).parents[1] / "models" / "backbones"))
from backbone_kit import all_families

FAMILIES = {family.member: family for family in all_families().values()}
# What a component needs that has no default.
FEW = {"num_train": 20, "num_val": 10, "size": 16}
DIGITS = {"type": "digits", **FEW}
PARAMETERS = {
    "digits": FEW,
    "concat": {"datasets": [DIGITS, DIGITS]},
    "kfold": {"dataset": DIGITS},
    "class_balanced": {"dataset": DIGITS},
    "repeat": {"dataset": DIGITS, "times": 2},
    "subset": {"dataset": DIGITS, "first": 7},
    "random_apply": {"transforms": [{"type": "random_invert"}]},
    "random_choice": {"transforms": [{"type": "random_invert"}]},
    "random_order": {"transforms": [{"type": "random_invert"}]},
    "soft_target_kd": {"teacher": "teacher.pth"},
}
FEATURES = {"cls": ((5,),)}  # features as logits: one channel for each of the five classes
# Those that need a service, and have tests of their own.
ELSEWHERE = {"mlflow", "wandb"}
DATASETS = ("concat", "kfold", "class_balanced", "repeat", "subset", "digits")


def names(kind):
    return [c.name for c in find_components(kind) if c.is_core and c.name not in ELSEWHERE]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Compute on one core: on a busy machine, threads that wait for each other take five times as long."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


# Every other one: tests/models asks nearly the same of all, and this is about the kit.
@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAMILIES)[::2])
def test_a_backbone_of_many_families(name):
    family = FAMILIES[name]
    size = family.image_size
    check_component("backbones", name, Inputs(image_sizes=((size, size), (size, 2 * size))), **family.small)


SMALL = (
    "necks",
    "heads",
    "losses",
    "transforms",
    "batch_transforms",
    "samplers",
    "optimizers",
    "schedulers",
    "hooks",
)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in SMALL for name in names(kind)])
def test_small_components(kind, name):
    if name == "tensorboard":
        pytest.importorskip("tensorboard")
    check_component(kind, name, Inputs(features=FEATURES.get(name)), **PARAMETERS.get(name, {}))


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets(name):
    check_component("datasets", name, **PARAMETERS.get(name, {}))


def test_a_folder_of_pictures(pictures):
    check_component("datasets", "folder", root=str(pictures / "train"))
