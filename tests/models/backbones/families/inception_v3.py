from backbone_kit import Family

# timm's model, which has no auxiliary classifier either, has the same.
FAMILY = Family(
    sizes={"inception_v3": (21_785_568, 23_834_568)},
    stages={"inception_v3": [(192, 26), (288, 12), (768, 5), (2048, 2)]},
    stages_at=120,
    member="inception_v3",
    image_size=75,
)
