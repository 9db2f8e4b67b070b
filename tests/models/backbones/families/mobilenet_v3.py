from backbone_kit import Family

# mmpretrain's and, but for the half as wide one, torchvision's models have the same.
FAMILY = Family(
    sizes={
        "mobilenet_v3_small_050": (272_288, 1_593_224),
        "mobilenet_v3_small": (927_008, 2_542_856),
        "mobilenet_v3_large": (2_971_952, 5_483_032),
    },
    stages={
        "mobilenet_v3_small_050": [(16, 32), (8, 16), (16, 8), (24, 4), (288, 2)],
        "mobilenet_v3_small": [(16, 32), (16, 16), (24, 8), (48, 4), (576, 2)],
        "mobilenet_v3_large": [(16, 32), (24, 16), (40, 8), (112, 4), (960, 2)],
    },
    member="mobilenet_v3_small",
    small={"width_mult": 0.5},
)
