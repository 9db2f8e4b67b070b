from backbone_kit import Family

# In total as torchvision counts them, B8 as mmpretrain does.
FAMILY = Family(
    sizes={
        "efficientnet_b0": (4_007_548, 5_288_548),
        "efficientnet_b1": (6_513_184, 7_794_184),
        "efficientnet_b2": (7_700_994, 9_109_994),
        "efficientnet_b3": (10_696_232, 12_233_232),
        "efficientnet_b4": (17_548_616, 19_341_616),
        "efficientnet_b5": (28_340_784, 30_389_784),
        "efficientnet_b6": (40_735_704, 43_040_704),
        "efficientnet_b7": (63_786_960, 66_347_960),
        "efficientnet_b8": (84_596_142, 87_413_142),
    },
    stages={
        "efficientnet_b0": [(16, 32), (24, 16), (40, 8), (112, 4), (1280, 2)],
        "efficientnet_b8": [(32, 32), (56, 16), (88, 8), (248, 4), (2816, 2)],
    },
    member="efficientnet_b0",
    small={"width_mult": 0.25, "depth_mult": 0.5},
)
