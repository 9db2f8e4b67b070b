from backbone_kit import Family

STAGES = [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2), (4096,)]

# mmpretrain's models have the same; vgg19_bn as torchvision documents it.
FAMILY = Family(
    sizes={
        "vgg11": (128_766_336, 132_863_336),
        "vgg13": (128_950_848, 133_047_848),
        "vgg16": (134_260_544, 138_357_544),
        "vgg19": (139_570_240, 143_667_240),
        "vgg11_bn": (128_771_840, 132_868_840),
        "vgg13_bn": (128_956_736, 133_053_736),
        "vgg16_bn": (134_268_992, 138_365_992),
        "vgg19_bn": (139_581_248, 143_678_248),
    },
    stages={"vgg11": STAGES, "vgg16_bn": STAGES},
    member="vgg16_bn",
    small={"layers": (8, "M", 16, "M"), "hidden_channels": 16},
)
