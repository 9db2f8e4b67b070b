"""A member of every family, from pictures to a prediction: train, eval and predict agree."""

import pytest
from backbone_kit import all_families

import clscli

MEMBERS = {family.member: family for family in all_families().values()}


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_train_eval_predict(name, pictures, tmp_path):
    family = MEMBERS[name]
    size = {"type": "resize", "size": [family.image_size, family.image_size]}
    spec = {
        "data": {"root": str(pictures), "batch_size": 12, "num_workers": 0},
        "transforms": {"train": [size, {"type": "random_horizontal_flip"}], "eval": [size]},
        "model": {"backbone": {"type": name, **family.small}},
        "optimizer": {"lr": 1e-3},
        "train": {"epochs": 1, "precision": "float32"},
    }
    result = clscli.train(spec, out=tmp_path / "run", device="cpu")
    evaluation = clscli.evaluate(result.checkpoint, device="cpu")
    assert evaluation.loss == pytest.approx(result.best["loss"], rel=1e-5)
    assert evaluation.samples == 12

    files = sorted((pictures / "val").glob("*/*.png"))
    predictions = clscli.predict(files, ckpt=result.checkpoint, device="cpu")
    right = sum(p.top == file.parent.name for p, file in zip(predictions, files, strict=True))
    assert right / len(files) == pytest.approx(evaluation.top1)
