"""timm's published weights: from the same cache as timm's own, read by clscli, fitted to the model by timm."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg
from torch import Tensor, nn

from clscli.errors import CheckpointError, describe
from clscli.models.download import Progress, digest_in, download
from clscli.models.published import Weights

# In timm's own order: the format without pickle first. clscli reads the other with `weights_only=True`.
_FILES = ("model.safetensors", "pytorch_model.bin")
_patching = threading.Lock()


class TimmWeights(Weights):
    """Weights that timm knows, in a repository of the Hugging Face hub; a few are files of a URL."""

    urls: tuple[str, ...] = ()
    sha256: str = ""
    repository: str = ""  # owner/name, or owner/name@revision

    def fetch(self, progress: Progress | None = None) -> Path:
        """Return the file from the cache of the Hugging Face hub, which timm uses too, or download it there."""
        if not self.repository:
            return download(self.urls, self.sha256, progress)
        repository, _, revision = self.repository.partition("@")
        reasons = []
        for name in _FILES:
            try:
                return Path(hf_hub_download(repository, name, revision=revision or None))
            except EntryNotFoundError as error:  # there is no such file, or nobody can be asked whether there is
                reasons.append(describe(error))
            except Exception as error:  # the network's, the disk's and the hub's own
                reasons.append(describe(error))
                break
        raise CheckpointError(
            f"https://huggingface.co/{repository}: cannot be downloaded: {reasons[0]} "
            '-- without a network, give a file from another machine: pretrained = "FILE"'
        )


def weights_of(model: str) -> list[TimmWeights]:
    """List the weights of a model; of one without a tag all there are, timm's default first."""
    architecture, _, tag = model.partition(".")
    configs = get_arch_pretrained_cfgs(architecture)
    default = get_pretrained_cfg(model)
    found = [config for name, config in configs.items() if config.has_weights and (not tag or name == model)]
    return [_from_config(config) for config in sorted(found, key=lambda config: config != default)]


def _from_config(config: Any) -> TimmWeights:
    size = config.input_size[-1]
    url = config.url if isinstance(config.url, str) else ""
    return TimmWeights(
        name=config.tag or "default",
        urls=(url,),
        sha256=digest_in(url),
        repository=config.hf_hub_id or "",
        licence=config.license or "unknown",
        source=f"timm, {config.hf_hub_id or url}",
        input_size=size,
        resize_size=math.floor(size / config.crop_pct),  # as timm's create_transform has it
        interpolation=config.interpolation,
        squash=config.crop_mode == "squash",
        mean=tuple(config.mean),
        std=tuple(config.std),
    )


def fit_to_model(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Apply to tensors what timm applies to those of a file, before it loads them into the model."""
    fit = _fitting_function(name)
    if fit is None:
        return dict(tensors)
    try:
        return dict(fit(dict(tensors), model))
    except (KeyError, RuntimeError, AttributeError):  # not names that it knows: clscli tells that nothing fits
        return dict(tensors)


def _fitting_function(name: str) -> Callable[..., Mapping[str, Tensor]] | None:
    """Find the function that fits a file to a model: timm hands it to `load_pretrained` and keeps it nowhere.

    So the model is built for weights, on the meta device, and what it would load them with is caught.
    """
    caught: dict[str, Any] = {}
    catch = mock.patch("timm.models._builder.load_pretrained", lambda _, **given: caught.update(given))
    with _patching, catch, torch.device("meta"):
        timm.create_model(name, pretrained=True)
    fit: Callable[..., Mapping[str, Tensor]] | None = caught.get("filter_fn")
    return fit
