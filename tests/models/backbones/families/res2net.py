from backbone_kit import Family

# timm's models; mmpretrain's res2net50-w14-s8 and res2net50-w26-s8 have the same.
FAMILY = Family(
    sizes={
        "res2net50_26w_4s": (23_650_120, 25_699_120),
        "res2net50_26w_6s": (35_002_448, 37_051_448),
        "res2net50_26w_8s": (46_354_776, 48_403_776),
        "res2net50_48w_2s": (23_238_304, 25_287_304),
        "res2net50_14w_8s": (23_010_816, 25_059_816),
        "res2net101_26w_4s": (43_157_688, 45_206_688),
        "res2next50": (22_622_464, 24_671_464),
        "res2net50d": (23_669_352, 25_718_352),
        "res2net101d": (43_176_920, 45_225_920),
    },
    stages={
        "res2net50_26w_4s": [(256, 16), (512, 8), (1024, 4), (2048, 2)],
        "res2net50d": [(256, 16), (512, 8), (1024, 4), (2048, 2)],
    },
    member="res2net50d",
    small={"layers": (1, 2, 1, 1), "base_channels": 8},
)
