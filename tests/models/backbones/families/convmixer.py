from backbone_kit import Family

# Of the backbone, and with a linear head for 1000 classes: timm's models have the same.
FAMILY = Family(
    sizes={
        "convmixer_768_32": (20_341_248, 21_110_248),
        "convmixer_1024_20_ks9_p14": (23_358_464, 24_383_464),
        "convmixer_1536_20": (50_088_960, 51_625_960),
    },
    stages={
        "convmixer_768_32": [(768, 9)] * 32,
        "convmixer_1024_20_ks9_p14": [(1024, 4)] * 20,
    },
    member="convmixer_1536_20",
    small={"hidden_dim": 12, "num_layers": 3, "kernel_size": 5, "patch_size": 4},
    image_size=16,
)
