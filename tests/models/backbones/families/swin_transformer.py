from backbone_kit import Family

# In total as torchvision and mmpretrain count them.
FAMILY = Family(
    sizes={
        "swin_t": (27_519_354, 28_288_354),
        "swin_s": (48_837_258, 49_606_258),
        "swin_b": (86_743_224, 87_768_224),
    },
    stages={
        "swin_t": [(96, 16), (192, 8), (384, 4), (768, 2)],
        "swin_b": [(128, 16), (256, 8), (512, 4), (1024, 2)],
    },
    member="swin_t",
    small={"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 3},
    has_batch_norm=False,
)
