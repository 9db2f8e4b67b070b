from backbone_kit import Family

# Of the backbone, and with a linear head for 1000 classes: mmpretrain's models have the same.
FAMILY = Family(
    sizes={
        "shufflenet_v1_g1_x1_0": (954_936, 1_531_936),
        "shufflenet_v1_g2_x1_0": (932_848, 1_733_848),
        "shufflenet_v1_g4_x1_0": (879_344, 1_968_344),
        "shufflenet_v1_g8_x1_0": (897_768, 2_434_768),
        "shufflenet_v1_x0_5": (237_324, 718_324),
        "shufflenet_v1_x1_0": (904_728, 1_865_728),
        "shufflenet_v1_x1_5": (2_002_212, 3_443_212),
        "shufflenet_v1_x2_0": (3_529_776, 5_450_776),
    },
    stages={
        "shufflenet_v1_x1_0": [(240, 8), (480, 4), (960, 2)],
        "shufflenet_v1_g8_x1_0": [(384, 8), (768, 4), (1536, 2)],
    },
    member="shufflenet_v1_x1_0",
    small={"stem_channels": 6, "widths": (24, 48, 96), "depths": (2, 2, 2)},
    image_size=64,
)
