"""Files of weights: both formats, every wrapping, and nothing executed."""

import argparse
import json
import os
from collections import OrderedDict

import pytest
import torch

from clscli.errors import CheckpointError
from clscli.models.weight_files import file_in, read_tensors, tensors_of

TENSORS = {
    "a": torch.tensor([1.5, -2.0]),
    "b": torch.tensor([[1, 2], [3, 4]]),
    "half": torch.tensor([0.5, 3.0], dtype=torch.float16),
    "brain": torch.tensor([0.5], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False, True]),
    "number": torch.tensor(7.0, dtype=torch.float64),
    "none": torch.zeros(0, 3),
}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_safetensors_as_its_own_package_writes_it(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(TENSORS, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert_same(read_tensors(tmp_path / "w.safetensors"), TENSORS)


def safetensors(header, data=b"", length=None):
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def test_safetensors_at_odd_places(tmp_path):
    """A float that begins at an odd byte, which the format allows."""
    header = {
        "flag": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]},
        "x": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]},
    }
    data = b"\x01" + torch.tensor([2.5]).numpy().tobytes()
    (tmp_path / "w.safetensors").write_bytes(safetensors(header, data))
    found = read_tensors(tmp_path / "w.safetensors")
    assert_same(found, {"flag": torch.tensor([True]), "x": torch.tensor([2.5])})


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is cut short, or is not of safetensors"),
        (b"no tensors", "the file is cut short, or is not of safetensors"),
        (safetensors({"x": ENTRY}, b"123"), "the file is cut short, or its header is wrong"),
        (safetensors({"x": ENTRY | {"shape": [2]}}, b"1234"), "the file is cut short, or its header is wrong"),
        (safetensors({"x": ENTRY | {"data_offsets": [-4, 0]}}, b"1234"), "the file is cut short, or its header"),
        (safetensors({"x": ENTRY | {"dtype": "F8_E5M2"}}, b"1"), "tensors of type F8_E5M2 are not known here"),
        (safetensors({"x": 1}), ""),
        (safetensors([1]), ""),
        (safetensors({"x": ENTRY}, b"1234", length=3), ""),
    ],
)
def test_safetensors_that_are_none(tmp_path, content, reason):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as info:
        read_tensors(tmp_path / "w.safetensors")
    assert str(info.value).startswith(f"{tmp_path}/w.safetensors: cannot be read as weights: {reason}")


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        OrderedDict,
        lambda w: {"state_dict": w, "meta": {"epoch": 3, "classes": ["a", "b"]}},  # mmpretrain
        lambda w: {"model": w, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        lambda w: {"model": {"state_dict": w}},
        lambda w: {"state_dict": {"a": torch.zeros(2)}, "state_dict_ema": w},
    ],
)
def test_torch_s_files(tmp_path, wrap, is_zip):
    torch.save(wrap(TENSORS), tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    assert_same(read_tensors(tmp_path / "w.pth"), TENSORS)


@pytest.mark.parametrize("data", [{}, {"epoch": 3}, [torch.ones(1)], torch.ones(1), {"state_dict": {}}])
def test_no_named_tensors(data):
    with pytest.raises(CheckpointError, match=r"^w\.pth: holds no named tensors$"):
        tensors_of(data, "w.pth")


def test_a_file_that_is_no_weights(tmp_path):
    (tmp_path / "w.pth").write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match=r"w\.pth: "):
        read_tensors(tmp_path / "w.pth")
    torch.save(TENSORS, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"w\.pth: cannot be read as weights: "):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("is_zip", [True, False])
def test_extras_are_refused_with_a_way_out(tmp_path, is_zip):
    file = tmp_path / "w.pth"
    data = {"state_dict": TENSORS, "args": argparse.Namespace(lr=0.1)}
    torch.save(data, file, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError) as info:
        read_tensors(file)
    found = " (argparse.Namespace)" if is_zip else ""
    command = f'torch.save(torch.load("{file}", weights_only=False)["state_dict"], "clean.pth")'
    assert str(info.value) == (
        f"{file}: holds more than tensors{found}, and is not loaded for safety "
        f"-- only if you trust it, make a clean one: {command}, "
        "with .state_dict() instead if it is a whole model"
    )
    os.chdir(tmp_path)
    torch.save(torch.load(file, weights_only=False)["state_dict"], "clean.pth")  # what the message says
    assert_same(read_tensors(tmp_path / "clean.pth"), TENSORS)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_bomb_does_not_go_off(tmp_path, is_zip):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "gone-off"),)

    torch.save({"x": Bomb()}, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError, match="is not loaded for safety"):
        read_tensors(tmp_path / "w.pth")
    assert not (tmp_path / "gone-off").exists()


def test_the_safe_file_of_a_folder_is_taken(tmp_path):
    assert file_in(tmp_path) is None
    (tmp_path / "pytorch_model.bin").touch()
    assert file_in(tmp_path) == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert file_in(tmp_path) == tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>", "it begins with '<!DOCTYPE html><html', as no file of weights does"),
    ],
)
def test_a_page_instead_of_a_file(tmp_path, content, reason):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CheckpointError) as info:
        read_tensors(tmp_path / "w.pth")
    assert str(info.value) == f"{tmp_path}/w.pth: cannot be read as weights: {reason}"
