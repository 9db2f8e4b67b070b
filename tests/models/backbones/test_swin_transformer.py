"""Swin transformers: agreement with other libraries, weights of other windows, and errors in words."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model, transplant
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

SMALL = {"embed_dim": 8, "depths": (2, 2, 2), "num_heads": (1, 2, 4), "window_size": 4}
V2_PARTS = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}


def without_constants(model):
    """Take the tables of coordinates out of a model's state, which a comparison fills with random numbers."""
    for module in model.modules():
        table = getattr(module, "relative_coords_table", None)
        if table is not None:
            module.register_buffer("relative_coords_table", table, persistent=False)
    return model


@pytest.mark.parametrize(("name", "parts"), [("swin_t", {}), ("swin_v2_t", V2_PARTS)])
def test_agrees_with_torchvision(name, parts):
    agree(
        without_constants(SwinTransformer([4, 4], **SMALL | {"window_size": [4, 4]}, **parts)),
        build(name, **SMALL),
        (64, 90),
        theirs=lambda model, images: model.permute(model.norm(model.features(images))),
    )


@pytest.mark.parametrize(
    ("theirs", "ours"), [("swin_tiny_patch4_window7_224", "swin_t"), ("swinv2_tiny_window8_256", "swin_v2_t")]
)
@pytest.mark.parametrize("size", [64, 128])  # timm's takes one size, and pads after the shift, not before
def test_agrees_with_timm(theirs, ours, size):
    agree(
        timm_model(theirs, img_size=size, **SMALL),
        build(ours, **SMALL),
        (size,),
        theirs=lambda model, images: model.forward_features(images).permute(0, 3, 1, 2),
    )


@pytest.mark.mmpretrain
@pytest.mark.parametrize(
    ("theirs", "ours", "extra"),
    [("SwinTransformer", "swin_t", {}), ("SwinTransformerV2", "swin_v2_t", {"extra_norm_every_n_blocks": 0})],
)
def test_agrees_with_mmpretrain(theirs, ours, extra):
    arch = {"embed_dims": 8, "depths": [2, 2, 2], "num_heads": [1, 2, 4], **extra}
    structure = {"arch": arch, "img_size": 64, "window_size": 4, "out_indices": (2,)}
    if ours == "swin_v2_t":
        structure["pretrained_window_sizes"] = [0, 0, 0]
    reference = without_constants(mmpretrain_backbone(theirs, **structure))
    # 160 pixels are 40, 20 and 10 patches, so the last stage is padded to whole windows.
    agree(reference, build(ours, **SMALL), (64, 160))


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])
def test_the_map_of_a_middle_stage_has_no_norm(name):
    backbone = build(name, out_indices=(0, 1), **SMALL).eval()
    assert not any(key.startswith("norm.") for key in backbone.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        first, second = backbone(images)
        assert torch.equal(second.permute(0, 2, 3, 1), backbone.features(images))
        assert torch.equal(first.permute(0, 2, 3, 1), backbone.features[:2](images))


def test_biases_of_another_window_are_resized():
    source, target = build("swin_t", **SMALL), build("swin_t", **SMALL | {"window_size": 7})
    name = "features.1.0.attn.relative_position_bias_table"
    # A bias that grows linearly with the rows' distance must go on doing so.
    rows = torch.arange(-3.0, 4).repeat_interleave(7)[:, None]
    adapted = target.adapt_weights(source.state_dict() | {name: rows})
    table = adapted[name].reshape(13, 13)
    torch.testing.assert_close(table, table[:, :1].expand(13, 13))
    centres = (torch.arange(13) + 0.5) * 7 / 13 - 0.5 - 3
    torch.testing.assert_close(table[3:10, 0], centres[3:10], atol=0.05, rtol=0)
    target.load_state_dict(adapted, strict=True)
    assert target.eval()(torch.rand(1, 3, 64, 64)).isfinite().all()


def test_the_second_version_needs_no_resizing_for_another_window():
    source = build("swin_v2_t", **SMALL)
    target = transplant(source.double(), build("swin_v2_t", **SMALL | {"window_size": 8}))
    own = build("swin_v2_t", **SMALL | {"window_size": 8}).double()
    for name, buffer in own.named_buffers():
        torch.testing.assert_close(target.get_buffer(name), buffer)
    for name, parameter in source.named_parameters():
        assert torch.equal(target.get_parameter(name), parameter)


def test_keys_have_no_bias_in_the_second_version():
    backbone = build("swin_v2_t", **SMALL)
    attention = "features.1.0.attn."
    q_bias, v_bias = torch.full((8,), 2.0), torch.full((8,), 3.0)
    adapted = backbone.adapt_weights({f"{attention}q_bias": q_bias, f"{attention}v_bias": v_bias})
    assert list(adapted) == [f"{attention}qkv.bias"]
    assert adapted[f"{attention}qkv.bias"].tolist() == [2.0] * 8 + [0.0] * 8 + [3.0] * 8


def test_an_image_is_at_least_one_patch():
    backbone = build("swin_t", **SMALL).eval()
    assert backbone(torch.rand(1, 3, 4, 5)).shape == (1, 32, 1, 1)
    with pytest.raises(ValueError, match=r"^SwinTransformer needs images of at least 4x4 pixels, got 3x8$"):
        backbone(torch.rand(1, 3, 3, 8))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depths": (2, 2)}, "SwinTransformerV2 needs as many depths as num_heads, got 2 and 3"),
        (
            {"num_heads": (1, 3, 4)},
            "SwinTransformerV2 needs stages whose channels are multiples of their num_heads, got 16 and 3",
        ),
    ],
)
def test_wrong_structure(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("swin_v2_t", device="meta", **SMALL | parameters)
