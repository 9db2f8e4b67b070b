from backbone_kit import Family

# In total as torchvision counts them.
FAMILY = Family(
    sizes={
        "efficientnet_v2_s": (20_177_488, 21_458_488),
        "efficientnet_v2_m": (52_858_356, 54_139_356),
        "efficientnet_v2_l": (117_234_272, 118_515_272),
    },
    stages={
        "efficientnet_v2_s": [(24, 32), (48, 16), (64, 8), (160, 4), (1280, 2)],
        "efficientnet_v2_m": [(24, 32), (48, 16), (80, 8), (176, 4), (1280, 2)],
    },
    member="efficientnet_v2_s",
    small={"width_mult": 0.25, "depth_mult": 0.1},
)
