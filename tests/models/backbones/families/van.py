from backbone_kit import Family

# Of the backbone, and with a linear head for 1000 classes: mmpretrain's models have the same.
FAMILY = Family(
    sizes={
        "van_b0": (3_848_800, 4_105_800),
        "van_b1": (13_348_800, 13_861_800),
        "van_b2": (26_065_472, 26_578_472),
        "van_b3": (44_252_608, 44_765_608),
        "van_b4": (59_770_176, 60_283_176),
        "van_b5": (89_198_688, 89_967_688),
        "van_b6": (199_060_416, 199_829_416),
    },
    stages={"van_b0": [(32, 16), (64, 8), (160, 4), (256, 2)], "van_b5": [(96, 16), (192, 8), (480, 4), (768, 2)]},
    member="van_b0",
    small={"depths": (2, 1, 1, 1), "widths": (8, 12, 16, 20), "mlp_ratios": (2, 2, 2, 2), "drop_path_rate": 0.0},
    image_size=64,
)
