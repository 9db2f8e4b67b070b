from backbone_kit import Family

# mmpretrain's models, with its two linear heads: 23,524,704 and 37,673,424 for tiny and small. Without the
# class token, a stage has one output, as the common tests expect; test_conformer.py has those of the default.
FAMILY = Family(
    sizes={
        "conformer_tiny_patch16": (22_882_704, 23_524_704),
        "conformer_small_patch16": (36_263_424, 37_673_424),
        "conformer_small_patch32": (37_443_072, 38_853_072),
        "conformer_base_patch16": (81_175_136, 83_289_136),
    },
    stages={},
    member="conformer_tiny_patch16",
    small={"num_layers": 6, "hidden_dim": 24, "base_channels": 8, "out_type": "featmap"},
    image_size=40,
)
