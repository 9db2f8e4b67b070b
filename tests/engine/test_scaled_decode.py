"""`data.scaled_decode`: one rule from training to prediction, kept in the checkpoint."""

import pytest
import torch
from PIL import Image, JpegImagePlugin

from clscli import evaluate, load, train
from clscli.engine.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def photos(tmp_path):
    """JPEGs of 96 x 80, four of each class for training and two for validation; red ones and blue ones."""
    for split, count in (("train", 4), ("val", 2)):
        for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
            for number in range(count):
                path = tmp_path / "photos" / split / name / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture = Image.effect_noise((12, 10), 60).resize((96, 80)).convert("RGB")
                Image.blend(picture, Image.new("RGB", picture.size, colour), 0.5).save(path, quality=90)
    return tmp_path / "photos"


@pytest.fixture
def drafts(monkeypatch) -> list[int]:
    """The divisors that JPEGs are decoded by."""
    found = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def note(self, mode, size):
        width = self.size[0]
        result = draft(self, mode, size)
        found.append(round(width / self.size[0]))
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", note)
    return found


def spec_of(tiny, photos, **data) -> dict:
    transforms = {
        "train": [{"type": "random_resized_crop", "size": 16, "scale": [0.9, 1.0]}],
        "eval": [{"type": "resize", "size": [16, 16]}],
    }
    table = tiny["data"] | {"root": str(photos), "batch_size": 4} | data
    return tiny | {"data": table, "transforms": transforms, "train": tiny["train"] | {"epochs": 1}}


@pytest.mark.parametrize("scaled", [True, False])
def test_train_eval_and_predict_follow_the_spec(tiny, photos, drafts, scaled):
    def count() -> int:
        found = len(drafts)
        assert set(drafts) <= {4}
        drafts.clear()
        return found

    run = train(spec_of(tiny, photos, scaled_decode=scaled), out="run", device="cpu").checkpoint
    assert (count() >= 12) == scaled
    evaluate(run, device="cpu")
    assert count() == 4 * scaled
    load(run, device="cpu").predict(sorted(photos.glob("val/*/*.jpg")))
    assert count() == 4 * scaled


def test_a_checkpoint_from_before_there_was_a_choice_has_the_default(tiny, photos, drafts):
    path = train(spec_of(tiny, photos, scaled_decode=False), out="run", device="cpu").checkpoint
    data = torch.load(path, weights_only=True)
    del data["spec"]["data"]["scaled_decode"]
    save_checkpoint(data, path)
    assert "scaled_decode" not in load_checkpoint(path).spec["data"]
    drafts.clear()
    assert len(load(path, device="cpu").predict(photos / "val" / "red" / "0.jpg").scores) == 2
    assert drafts == [4]


def test_predictions_hardly_depend_on_it(tiny, photos):
    path = train(spec_of(tiny, photos), out="run", device="cpu").checkpoint
    predictor = load(path, device="cpu")
    pictures = sorted(photos.glob("val/*/*.jpg"))
    scaled = predictor.predict(pictures)
    full = predictor.predict([Image.open(picture) for picture in pictures])  # opened by others: decoded whole
    for one, other in zip(scaled, full, strict=True):
        scores = {score.name: score.score for score in other.scores}
        assert {score.name: pytest.approx(score.score, abs=0.02) for score in one.scores} == scores
