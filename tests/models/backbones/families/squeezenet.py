from backbone_kit import Family

# Of the classifier: torchvision's documentation of its weights.
FAMILY = Family(
    sizes={"squeezenet1_0": (735_424, 1_248_424), "squeezenet1_1": (722_496, 1_235_496)},
    stages={
        "squeezenet1_0": [(256, 14), (512, 7), (512, 3)],
        "squeezenet1_1": [(128, 15), (256, 7), (512, 3)],
    },
    member="squeezenet1_1",
    has_batch_norm=False,
)
