from backbone_kit import Family

# Of the classifier: torchvision's documentation of its weights.
FAMILY = Family(
    sizes={"alexnet": (57_003_840, 61_100_840)},
    stages={"alexnet": [(64, 7), (192, 3), (256, 1), (4096,)]},
    member="alexnet",
    small={"hidden_channels": 16},
    image_size=64,
    has_batch_norm=False,
)
