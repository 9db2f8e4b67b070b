"""T2T-ViT: agreement with mmpretrain, the performer against its formula, sinusoids, any image size."""

import math
from functools import partial

import pytest
import torch
from backbone_kit import agree, build, materialise, mmpretrain_backbone
from torch.nn import functional as F

from clscli.models.backbones.t2t_vit import TokenPerformer, sinusoid, tokens_per_side
from clscli.models.matching import match_weights

TINY = {"image_size": 32, "num_layers": 2, "num_heads": 3, "hidden_dim": 24, "token_dim": 8}


@pytest.mark.mmpretrain
def test_same_numbers_as_mmpretrain():
    reference = mmpretrain_backbone(
        "T2T_ViT",
        img_size=32,
        embed_dims=24,
        num_layers=2,
        t2t_cfg={"token_dims": 8},
        layer_cfgs={"num_heads": 3, "feedforward_channels": 72},
    )
    # mmpretrain 1.2 divides by the scale that it should multiply by, and ignores that of the input's channels,
    # which it documents as the authors'. Its weights are from before that.
    for module in reference.modules():
        if hasattr(module, "scaled_dot_product_attention"):
            scale = (module.input_dims if module.v_shortcut else module.head_dims) ** -0.5
            module.scaled_dot_product_attention = partial(F.scaled_dot_product_attention, scale=scale)
    backbone = build("t2t_vit_t_14", **TINY)
    agree(reference, backbone, (32, 34))  # of the same grid, whose positions mmpretrain would resize otherwise


def test_performer_is_its_formula():
    torch.manual_seed(0)
    performer = materialise(TokenPerformer(12, 8))
    query, key, value = torch.randn(3, 2, 5, 8, dtype=torch.float64) / 2
    w = performer.w

    def features(x):
        return [math.exp(w[i] @ x - x @ x / 2) / math.sqrt(4) for i in range(4)]

    for image in range(2):
        for token in range(5):
            similar = [
                sum(a * b for a, b in zip(features(query[image, token]), features(key[image, other]), strict=True))
                for other in range(5)
            ]
            expected = sum(s * v for s, v in zip(similar, value[image], strict=True)) / (sum(similar) + 1e-8)
            torch.testing.assert_close(performer.mix(query, key, value)[image, token], expected)


def test_performer_comes_close_to_attention():
    torch.manual_seed(0)
    performer = TokenPerformer(8, 8).double()
    performer.w = torch.randn(20_000, 8, dtype=torch.float64)  # many random features instead of 4
    query, key, value = torch.randn(3, 1, 20, 8, dtype=torch.float64) / 2
    exact = F.scaled_dot_product_attention(query, key, value, scale=1.0)
    off = (performer.mix(query, key, value) - exact).abs().mean()
    assert off < 0.1 * exact.abs().mean()


def test_performer_directions_are_orthogonal_and_never_train():
    performer = TokenPerformer(147, 64)
    torch.testing.assert_close(performer.w @ performer.w.T, 32 * torch.eye(32), rtol=0, atol=1e-4)
    assert "w" not in dict(performer.named_parameters())
    assert "w" in performer.state_dict()


def test_performer_in_autocast_is_as_exact_as_without():
    torch.manual_seed(0)
    performer = TokenPerformer(12, 8)
    query, key, value = torch.randn(3, 1, 50, 8)
    expected = performer.mix(query, key, value)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(performer.mix(query, key, value), expected)


def test_names_of_the_authors_code():
    backbone = materialise(build("t2t_vit_7", **TINY))
    theirs = {
        name.replace(".mlp.fc1.", ".mlp.0.").replace(".mlp.fc2.", ".mlp.2.")
        if name.startswith("tokens_to_token")
        else name: tensor
        for name, tensor in backbone.state_dict().items()
    }
    match = match_weights(theirs, backbone)
    assert (match.missing, match.misshapen, list(match.unused)) == ([], [], [])
    assert all(torch.equal(match.fitting[name], tensor) for name, tensor in backbone.state_dict().items())


def test_sinusoid():
    table = sinusoid(3, 4)
    expected = [[math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in range(3)]
    torch.testing.assert_close(table, torch.tensor([expected]))


def test_positions_of_another_size_are_resized():
    backbone = build("t2t_vit_7", out_type="featmap", **TINY).eval()
    assert backbone.pos_embed.shape == (1, 1 + 2 * 2, 24)
    assert backbone(torch.rand(1, 3, 50, 65)).shape == (1, 24, 3, 4)
    large = build("t2t_vit_7", **{**TINY, "image_size": 64})
    match = match_weights(large.state_dict(), backbone)
    assert match.adapted == {"pos_embed": (torch.Size((1, 17, 24)), torch.Size((1, 5, 24)))}


@pytest.mark.parametrize(("size", "tokens"), [(3, 1), (16, 1), (17, 1), (19, 2), (32, 2), (50, 3), (224, 14)])
def test_tokens_per_side(size, tokens):
    assert tokens_per_side(size) == tokens
    backbone = build("t2t_vit_7", device="meta", out_type="featmap", **TINY)
    assert backbone(torch.empty(1, 3, size, size, device="meta")).shape == (1, 24, tokens, tokens)


def test_images_that_are_too_small():
    with pytest.raises(ValueError, match=r"^T2TViT needs images of at least 3x3 pixels, got 2x32$"):
        build("t2t_vit_7", **TINY)(torch.rand(1, 3, 2, 32))
