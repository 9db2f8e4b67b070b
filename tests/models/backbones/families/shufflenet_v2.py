from backbone_kit import Family

# Of the classifier: torchvision's documentation of its weights; mmpretrain's x1_0 has the same.
FAMILY = Family(
    sizes={
        "shufflenet_v2_x0_5": (341_792, 1_366_792),
        "shufflenet_v2_x1_0": (1_253_604, 2_278_604),
        "shufflenet_v2_x1_5": (2_478_624, 3_503_624),
        "shufflenet_v2_x2_0": (5_344_996, 7_393_996),
    },
    stages={
        "shufflenet_v2_x1_0": [(24, 16), (116, 8), (232, 4), (1024, 2)],
        "shufflenet_v2_x2_0": [(24, 16), (244, 8), (488, 4), (2048, 2)],
    },
    member="shufflenet_v2_x1_0",
    small={"depths": (2, 2, 2), "widths": (16, 24, 32), "last_channels": 40},
)
