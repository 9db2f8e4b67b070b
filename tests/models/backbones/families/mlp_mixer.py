from backbone_kit import Family

# Of the backbone, and with a linear head for 1000 classes: timm's models have the same.
FAMILY = Family(
    sizes={
        "mixer_s32": (18_591_624, 19_104_624),
        "mixer_s16": (18_015_264, 18_528_264),
        "mixer_b32": (59_524_428, 60_293_428),
        "mixer_b16": (59_111_472, 59_880_472),
        "mixer_l32": (205_914_264, 206_939_264),
        "mixer_l16": (207_171_168, 208_196_168),
    },
    stages={"mixer_s32": [(512, 7)] * 8, "mixer_b16": [(768, 14)] * 12},
    stages_at=224,
    member="mixer_b16",
    small={
        "image_size": 32,
        "patch_size": 8,
        "num_layers": 3,
        "hidden_dim": 16,
        "tokens_mlp_dim": 8,
        "channels_mlp_dim": 32,
    },
    has_batch_norm=False,
)
