from backbone_kit import Family

# timm's models. mmpretrain has the same numbers: 5,717,416, 22,050,664, 86,567,656 and, distilled,
# 5,910,800, 22,436,432, 87,338,192.
FAMILY = Family(
    sizes={
        "deit_tiny_patch16": (5_524_416, 5_717_416),
        "deit_small_patch16": (21_665_664, 22_050_664),
        "deit_base_patch16": (85_798_656, 86_567_656),
        "deit_base_patch16_384": (86_090_496, 86_859_496),
        "deit_tiny_distilled_patch16": (5_524_800, 5_910_800),
        "deit_small_distilled_patch16": (21_666_432, 22_436_432),
        "deit_base_distilled_patch16": (85_800_192, 87_338_192),
        "deit_base_distilled_patch16_384": (86_092_032, 87_630_032),
    },
    stages={"deit_tiny_patch16": [(192,)] * 12, "deit_base_patch16_384": [(768,)] * 12},
    member="deit_tiny_patch16",
    small={"image_size": 32, "num_layers": 3, "hidden_dim": 24, "out_type": "featmap"},
    image_size=32,
    has_batch_norm=False,
)
