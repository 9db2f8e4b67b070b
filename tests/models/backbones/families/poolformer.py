from backbone_kit import Family

# Of the backbone, and with a linear head for 1000 classes: timm's models have the same.
FAMILY = Family(
    sizes={
        "poolformer_s12": (11_402_176, 11_915_176),
        "poolformer_s24": (20_875_968, 21_388_968),
        "poolformer_s36": (30_349_760, 30_862_760),
        "poolformer_m36": (55_403_520, 56_172_520),
        "poolformer_m48": (72_704_448, 73_473_448),
    },
    stages={
        "poolformer_s12": [(64, 16), (128, 8), (320, 4), (512, 2)],
        "poolformer_m36": [(96, 16), (192, 8), (384, 4), (768, 2)],
    },
    member="poolformer_s12",
    small={"depths": (1, 2, 1, 1), "widths": (8, 12, 16, 20), "drop_path_rate": 0.0},
    has_batch_norm=False,
)
