from backbone_kit import Family

# Of the classifier: torchvision's documentation of its weights, which have no auxiliary classifiers.
FAMILY = Family(
    sizes={"googlenet": (5_599_904, 6_624_904)},
    stages={"googlenet": [(192, 16), (480, 8), (832, 4), (1024, 2)]},
    member="googlenet",
)
