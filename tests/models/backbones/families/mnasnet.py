from backbone_kit import Family

# Of the classifier: torchvision's documentation of its weights.
FAMILY = Family(
    sizes={
        "mnasnet0_5": (937_512, 2_218_512),
        "mnasnet0_75": (1_889_208, 3_170_208),
        "mnasnet1_0": (3_102_312, 4_383_312),
        "mnasnet1_3": (5_001_256, 6_282_256),
    },
    stages={
        "mnasnet0_5": [(8, 32), (16, 16), (24, 8), (48, 4), (1280, 2)],
        "mnasnet1_0": [(16, 32), (24, 16), (40, 8), (96, 4), (1280, 2)],
    },
    member="mnasnet0_5",
    small={"width_mult": 0.25},
)
