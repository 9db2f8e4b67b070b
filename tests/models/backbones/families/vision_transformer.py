from backbone_kit import Family

# In total as torchvision counts them, all for images of 224x224.
FAMILY = Family(
    sizes={
        "vit_b_16": (85_798_656, 86_567_656),
        "vit_b_32": (87_455_232, 88_224_232),
        "vit_l_16": (303_301_632, 304_326_632),
        "vit_l_32": (305_510_400, 306_535_400),
        "vit_h_14": (630_764_800, 632_045_800),
    },
    stages={"vit_b_16": [(768,)] * 12, "vit_l_32": [(1024,)] * 24},
    member="vit_b_16",
    small={"num_layers": 2, "hidden_dim": 48, "mlp_dim": 96, "image_size": 32, "patch_size": 8},
    has_batch_norm=False,
)
