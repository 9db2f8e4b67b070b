from backbone_kit import Family

# As torchvision counts them, but for the bias of the head's last layer, which torchvision's has not.
FAMILY = Family(
    sizes={"maxvit_t": (30_407_624, 30_919_624 + 1000)},
    stages={"maxvit_t": [(64, 56), (128, 28), (256, 14), (512, 7), (512,)]},
    stages_at=224,
    member="maxvit_t",
    small={
        "input_size": 32,
        "stem_channels": 8,
        "block_channels": (8, 16),
        "block_layers": (1, 1),
        "head_dim": 4,
        "partition_size": 4,
    },
)
