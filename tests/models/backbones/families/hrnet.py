from backbone_kit import Family

# mmpretrain's models, with its neck HRFuseScales; of the small ones timm's, whose neck has 3,840 biases more.
FAMILY = Family(
    sizes={
        "hrnet_w18_small": (1_477_920, 13_187_464 - 3_840),
        "hrnet_w18_small_v2": (3_860_720, 15_597_464 - 3_840),
        "hrnet_w18": (9_562_260, 21_295_164),
        "hrnet_w30": (25_812_276, 37_708_380),
        "hrnet_w32": (29_305_536, 41_228_840),
        "hrnet_w40": (45_521_216, 57_553_320),
        "hrnet_w44": (54_974_640, 67_061_144),
        "hrnet_w48": (65_325_120, 77_466_024),
        "hrnet_w64": (115_697_600, 128_056_104),
    },
    stages={"hrnet_w18": [(18, 16), (36, 8), (72, 4), (144, 2)]},
    member="hrnet_w18_small",
    small={"width": 4, "first_width": 4, "stem_channels": 8, "num_blocks": 1},
)
