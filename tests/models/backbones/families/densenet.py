from backbone_kit import Family

# Of the classifier: torchvision's documentation of its weights; mmpretrain's models have the same.
FAMILY = Family(
    sizes={
        "densenet121": (6_953_856, 7_978_856),
        "densenet161": (26_472_000, 28_681_000),
        "densenet169": (12_484_480, 14_149_480),
        "densenet201": (18_092_928, 20_013_928),
    },
    stages={
        "densenet121": [(256, 16), (512, 8), (1024, 4), (1024, 2)],
        "densenet161": [(384, 16), (768, 8), (2112, 4), (2208, 2)],
    },
    member="densenet121",
    small={"depths": (2, 2, 2), "growth_rate": 4, "stem_channels": 8},
)
