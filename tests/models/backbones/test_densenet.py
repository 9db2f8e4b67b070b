"""DenseNet: the same numbers as torchvision, timm and mmpretrain, its stages, and the old names of its weights."""

import re

import pytest
import torch
from backbone_kit import agree, build, materialise, mmpretrain_backbone, transplant
from torch.nn import functional as F
from torchvision import models

from clscli.models.matching import match_weights

SMALL = {"growth_rate": 8, "depths": (2, 3, 2, 2), "stem_channels": 16}


def torchvision_model():
    return models.DenseNet(growth_rate=8, block_config=(2, 3, 2, 2), num_init_features=16, num_classes=10)


def test_same_as_torchvision():
    agree(
        torchvision_model(),
        build("densenet121", **SMALL),
        (32, 75),
        theirs=lambda model, images: F.relu(model.features(images)),
    )


def test_same_as_timm():
    densenet = pytest.importorskip("timm.models.densenet")
    reference = densenet.DenseNet(growth_rate=8, block_config=(2, 3, 2, 2))
    backbone = build("densenet121", **SMALL)
    agree(reference, backbone, (32, 75), theirs=lambda model, images: model.forward_features(images))


@pytest.mark.mmpretrain
def test_same_as_mmpretrain():
    arch = {"growth_rate": 8, "depths": [2, 3, 2, 2], "init_channels": 16}
    agree(mmpretrain_backbone("DenseNet", arch=arch), build("densenet121", **SMALL), (32, 75))


def test_published_weights_have_older_names():
    backbone = build("densenet121", **SMALL)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in torchvision_model().state_dict().items()
    }
    assert "features.denseblock1.denselayer2.conv.2.weight" in old
    match = match_weights(old, backbone)
    assert (match.missing, match.misshapen) == ([], [])
    assert list(match.unused) == ["classifier.weight", "classifier.bias"]


def test_stages_end_before_the_transitions():
    reference = materialise(torchvision_model())
    backbone = transplant(reference, build("densenet121", out_indices=(0, 1), **SMALL))
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        first, second = backbone(images)
        torch.testing.assert_close(first, reference.features[:5](images))
        torch.testing.assert_close(second, reference.features[:7](images))


def test_dropout_is_for_training_only():
    backbone = build("densenet121", dropout=0.5, norm_eval=True, **SMALL)
    images = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
    dropped, whole = backbone.train()(images), backbone.eval()(images)
    assert not torch.equal(dropped[0], dropped[1])
    torch.testing.assert_close(whole[0], whole[1])
