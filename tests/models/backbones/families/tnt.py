from backbone_kit import Family

# timm's models; mmpretrain's tnt-small-p16 is the legacy one, with the same 23,755,336.
FAMILY = Family(
    sizes={
        "tnt_s_patch16": (23_383_584, 23_768_584),
        "tnt_b_patch16": (64_787_680, 65_428_680),
        "tnt_s_legacy_patch16": (23_370_336, 23_755_336),
    },
    stages={"tnt_s_patch16": [(384,)] * 12, "tnt_s_legacy_patch16": [(384,)] * 12},
    member="tnt_s_patch16",
    small={"image_size": 32, "num_layers": 3, "hidden_dim": 24, "inner_dim": 8, "out_type": "featmap"},
    image_size=32,
    has_batch_norm=False,
)
