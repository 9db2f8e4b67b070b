from backbone_kit import Family

# timm's models; mmpretrain has the same numbers for twins-pcpvt-small and -base, twins-svt-small and -base.
FAMILY = Family(
    sizes={
        "twins_pcpvt_small": (23_593_216, 24_106_216),
        "twins_pcpvt_base": (43_315_456, 43_828_456),
        "twins_pcpvt_large": (60_476_672, 60_989_672),
        "twins_svt_small": (23_547_776, 24_060_776),
        "twins_svt_base": (55_301_952, 56_070_952),
        "twins_svt_large": (98_246_400, 99_271_400),
    },
    stages={
        "twins_pcpvt_small": [(64, 16), (128, 8), (320, 4), (512, 2)],
        "twins_svt_base": [(96, 16), (192, 8), (384, 4), (768, 2)],
    },
    member="twins_svt_small",
    small={"depths": (2, 1, 1, 2), "widths": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2), "window_size": 3},
    image_size=40,
    has_batch_norm=False,
)
