from backbone_kit import Family

# t2t_vit_t_*: mmpretrain's models. The others: the authors' code, less what it holds as parameters that
# never train, the sinusoid and the two random matrices of the performers; their README has 4.3, 5.9, 6.9,
# 21.5, 39.2 and 64.1 million with them.
FAMILY = Family(
    sizes={
        "t2t_vit_7": (3_998_694, 4_255_694),
        "t2t_vit_10": (5_577_702, 5_834_702),
        "t2t_vit_12": (6_630_374, 6_887_374),
        "t2t_vit_14": (21_080_806, 21_465_806),
        "t2t_vit_19": (38_636_070, 39_085_070),
        "t2t_vit_24": (63_487_974, 64_000_974),
        "t2t_vit_t_14": (21_080_422, 21_465_422),
        "t2t_vit_t_19": (38_635_686, 39_084_686),
        "t2t_vit_t_24": (63_487_590, 64_000_590),
    },
    stages={"t2t_vit_7": [(256,)] * 7, "t2t_vit_t_14": [(384,)] * 14},
    member="t2t_vit_7",
    small={"image_size": 32, "num_layers": 3, "num_heads": 3, "hidden_dim": 24, "token_dim": 8},
    image_size=32,
    has_batch_norm=False,
)
