"""Inception v3: the same numbers as torchvision, timm and mmpretrain, without its auxiliary classifier."""

import pytest
from backbone_kit import ENTRIES, agree, build, mmpretrain_backbone, timm_model
from torch import nn
from torchvision import models


def pooled(model, images):
    return model(images).mean((2, 3))


def test_same_as_torchvision():
    reference = models.Inception3(num_classes=1, init_weights=False)
    reference.fc = nn.Identity()
    agree(reference, build("inception_v3"), (75, 107), ours=pooled)


def test_same_as_timm():
    backbone = build("inception_v3")
    agree(
        timm_model("inception_v3"),
        backbone,
        (75, 107),
        theirs=lambda model, images: model.forward_features(images),
    )


@pytest.mark.mmpretrain
def test_same_as_mmpretrain():
    reference = mmpretrain_backbone("InceptionV3", num_classes=1, aux_logits=False)
    reference.fc = nn.Identity()
    # Theirs returns the auxiliary classifier's output too, which is None in evaluation.
    agree(reference, build("inception_v3"), (75, 107), theirs=lambda model, images: model(images)[1], ours=pooled)


def test_auxiliary_classifier_is_not_built():
    assert not [name for name in build("inception_v3", device="meta").state_dict() if name.startswith("Aux")]


def test_weights_are_drawn_as_torchvision_draws_them():
    assert 0.085 < build("inception_v3", out_indices=(0,)).Conv2d_1a_3x3.conv.weight.std() < 0.115


def test_companions():
    assert ENTRIES["inception_v3"].load().companions({}) == {"head": {"type": "linear", "dropout": 0.5}}
