from backbone_kit import Family

# The paper's layers: 6 maps from 3 channels, 16 from 6 and 120 from 16, then F6 and the classes.
FAMILY = Family(
    sizes={"lenet5": (456 + 2_416 + 48_120, 50_992 + 10_164 + 85_000)},
    stages={"lenet5": [(6, 30), (16, 13), (120, 9)]},
    member="lenet5",
    has_batch_norm=False,
)
