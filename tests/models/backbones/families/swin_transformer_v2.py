from backbone_kit import Family

# In total as torchvision counts them.
FAMILY = Family(
    sizes={
        "swin_v2_t": (27_582_570, 28_351_570),
        "swin_v2_s": (48_968_442, 49_737_442),
        "swin_v2_b": (86_905_848, 87_930_848),
    },
    stages={"swin_v2_t": [(96, 16), (192, 8), (384, 4), (768, 2)]},
    member="swin_v2_t",
    small={"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 3},
    has_batch_norm=False,
)
