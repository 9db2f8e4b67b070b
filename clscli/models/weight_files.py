"""Named tensors from files: torch's and safetensors'. Nothing that a file holds is ever executed."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clscli.errors import CheckpointError
from clscli.reports.text import list_some

# Where trainers keep the tensors in a file; averaged ones first, as they are those that were evaluated.
_CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "weights", "model_state_dict")
# What files that torch wrote begin with: a zip archive, or a pickle of before torch 1.6.
_STARTS = (b"PK\x03\x04", b"\x80")
# What a folder in the layout of the Hugging Face hub holds, the safe one first.
_IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin")

# https://huggingface.co/docs/safetensors: the types of the format and torch's.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def file_in(folder: Path) -> Path | None:
    """Find the file of weights in a folder in the layout of the Hugging Face hub."""
    return next((folder / name for name in _IN_A_FOLDER if (folder / name).is_file()), None)


def read_tensors(file: Path) -> Mapping[str, Tensor]:
    """Read the named tensors of a file, from wherever in it a trainer has put them.

    Raises CheckpointError for a file that cannot be read, or that could run code if it were.
    """
    try:
        if file.suffix == ".safetensors":
            return _read_safetensors(file)
        _check_start(file)
        return tensors_of(torch.load(file, map_location="cpu", weights_only=True), str(file))
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(file)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{file}: cannot be read as weights: {reason}") from error


def _check_start(file: Path) -> None:
    """Raise ValueError for what torch never wrote: a page that a server sent in place of the file, for one."""
    with file.open("rb") as opened:
        start = opened.read(20)
    if not start:
        raise ValueError("the file is empty")
    if not start.startswith(_STARTS):
        raise ValueError(f"it begins with {start.decode('ascii', 'replace')!r}, as no file of weights does")


def tensors_of(data: Any, source: str) -> Mapping[str, Tensor]:
    """Find the named tensors in what a file of weights holds."""
    while isinstance(data, Mapping):
        inside = next((data[key] for key in _CONTAINERS if isinstance(data.get(key), Mapping)), None)
        if inside is None:
            break
        data = inside
    found = {k: v for k, v in data.items() if isinstance(v, Tensor)} if isinstance(data, Mapping) else {}
    if not found:
        raise CheckpointError(f"{source}: holds no named tensors")
    return found


def _refusal(file: Path) -> str:
    """Say what a file holds besides tensors, and how to keep only these."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
    except (RuntimeError, ValueError, pickle.UnpicklingError):  # not in torch's present format
        names = []
    found = f" ({list_some(sorted(names), 3)})" if names else ""
    return (
        f"{file}: holds more than tensors{found}, and is not loaded for safety -- only if you trust it, make a "
        f'clean one: torch.save(torch.load("{file}", weights_only=False)["state_dict"], "clean.pth"), '
        "with .state_dict() instead if it is a whole model"
    )


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    """Read the format of safetensors: the length of a JSON header, the header, and the tensors' bytes.

    The format is that small; reading it here needs no package more.
    """
    content = bytearray(file.read_bytes())
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 + length:
        raise ValueError("the file is cut short, or is not of safetensors")
    header = json.loads(content[8 : 8 + length])
    data = torch.frombuffer(content, dtype=torch.uint8)[8 + length :]
    return {name: _tensor(data, **entry) for name, entry in dict(header).items() if name != "__metadata__"}


def _tensor(data: Tensor, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    if dtype not in _DTYPES:
        raise ValueError(f"tensors of type {dtype} are not known here")
    begin, end = data_offsets
    wanted = math.prod(shape) * _DTYPES[dtype].itemsize
    if not 0 <= begin <= end <= len(data) or end - begin != wanted:
        raise ValueError("the file is cut short, or its header is wrong")
    # A copy: a view of another type must begin at a multiple of its size, which nothing promises.
    return data[begin:end].clone().view(_DTYPES[dtype]).reshape(shape)
