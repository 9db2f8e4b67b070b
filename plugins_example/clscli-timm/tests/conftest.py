"""Small pictures, a spec for them, and weights in a cache of the Hugging Face hub; nothing is downloaded."""

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

# One of those that timm has for tests: 0.4 million parameters.
MODEL = "test_vit.r160_in1k"


@pytest.fixture
def spec(tmp_path):
    """A spec of one epoch on 12 + 6 pictures of two classes."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name, colour in (("dark", 60), ("light", 180)):
            for number in range(count):
                path = tmp_path / "pictures" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = generator.integers(colour, colour + 70, (48, 56, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((180, 200)).save(path)
    return {
        "data": {"root": str(tmp_path / "pictures"), "batch_size": 4, "num_workers": 0},
        "train": {"epochs": 1, "precision": "float32"},
    }


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def weights(hub):
    """Random weights of `MODEL`, in the hub's cache as if they had been downloaded."""
    torch.manual_seed(0)
    repository = hub / f"models--timm--{MODEL}"
    file = repository / "snapshots" / "0123" / "model.safetensors"
    file.parent.mkdir(parents=True)
    save_file(timm.create_model(MODEL).state_dict(), file)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    return file
