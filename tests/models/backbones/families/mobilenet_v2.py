from backbone_kit import Family

# mmpretrain's and torchvision's models have the same.
FAMILY = Family(
    sizes={"mobilenet_v2": (2_223_872, 3_504_872)},
    stages={"mobilenet_v2": [(16, 32), (24, 16), (32, 8), (96, 4), (1280, 2)]},
    member="mobilenet_v2",
    small={"width_mult": 0.25},
)
