from backbone_kit import Family

# mmpretrain's and timm's models have the same.
FAMILY = Family(
    sizes={
        "cspdarknet53": (26_617_184, 27_642_184),
        "cspresnet50": (20_591_168, 21_616_168),
        "cspresnext50": (18_520_896, 20_569_896),
    },
    stages={
        "cspdarknet53": [(64, 32), (128, 16), (256, 8), (512, 4), (1024, 2)],
        "cspresnet50": [(128, 16), (256, 8), (512, 4), (1024, 2)],
        "cspresnext50": [(256, 16), (512, 8), (1024, 4), (2048, 2)],
    },
    member="cspresnet50",
    small={"layers": (1, 2, 1, 1), "channels": (8, 16, 24, 32), "stem_channels": 8},
)
