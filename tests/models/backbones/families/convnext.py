from backbone_kit import Family

# In total as torchvision and mmpretrain count them.
FAMILY = Family(
    sizes={
        "convnext_tiny": (27_820_128, 28_589_128),
        "convnext_small": (49_454_688, 50_223_688),
        "convnext_base": (87_566_464, 88_591_464),
        "convnext_large": (196_230_336, 197_767_336),
    },
    stages={"convnext_tiny": [(96, 16), (192, 8), (384, 4), (768, 2), (768,)]},
    member="convnext_tiny",
    small={"depths": (1, 1, 2, 1), "widths": (8, 16, 24, 32)},
    has_batch_norm=False,
)
