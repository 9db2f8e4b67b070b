"""Transforms by their names in a spec, through a training and into its checkpoint."""

import torch

from clscli import predict, train


def test_grey_pictures_train_a_model_of_one_channel_which_predicts_colour_pictures(tiny, pictures):
    gray = [{"type": "resize", "size": 20, "mode": "pad", "fill": 114}, {"type": "grayscale"}]
    tiny["transforms"] = {
        "train": [
            *gray,
            {"type": "alternating_horizontal_flip"},
            {"type": "rand_augment_timm"},
            {"type": "three_augment"},
            {"type": "random_erasing", "value": "random"},
        ],
        "eval": gray,
        "batch": [{"type": "resizemix", "p": 0.5}],
    }
    tiny["train"]["epochs"] = 1
    result = train(tiny, device="cpu")
    weights = torch.load(result.checkpoint, weights_only=True)["weights"]
    assert next(w.shape[1] for name, w in weights.items() if name.endswith("weight")) == 1
    assert predict(pictures / "val/disc/000.png", ckpt=result.checkpoint, device="cpu").top in ("disc", "square")
