from backbone_kit import Family

# Of the backbone in its training form, and with a linear head for 1000 classes: timm's models have the same,
# and mmpretrain's (b1g2).
FAMILY = Family(
    sizes={
        "repvgg_a0": (7_827_968, 9_108_968),
        "repvgg_a1": (12_811_264, 14_092_264),
        "repvgg_a2": (26_801_600, 28_210_600),
        "repvgg_b0": (14_536_960, 15_817_960),
        "repvgg_b1": (55_366_016, 57_415_016),
        "repvgg_b1g2": (43_733_376, 45_782_376),
        "repvgg_b1g4": (37_917_056, 39_966_056),
        "repvgg_b2": (86_461_376, 89_022_376),
        "repvgg_b2g4": (59_197_376, 61_758_376),
        "repvgg_b3": (120_524_288, 123_085_288),
        "repvgg_b3g4": (81_264_128, 83_825_128),
        "repvgg_d2se": (130_773_836, 133_334_836),
    },
    stages={
        "repvgg_a0": [(48, 16), (96, 8), (192, 4), (1280, 2)],
        "repvgg_b1g4": [(128, 16), (256, 8), (512, 4), (2048, 2)],
    },
    member="repvgg_d2se",
    small={"depths": (2, 1, 2, 1), "widths": (16, 16, 32, 48), "groups": 2},
)
