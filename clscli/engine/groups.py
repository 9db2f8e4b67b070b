"""Parameter groups: which parameters are trained at which rate, and with how much weight decay.

`Groups`, the table `optimizer.groups` of a spec, holds factors. Those of a parameter are found from its kind
(`kind_of`), from its depth in the backbone (`layers_of`) and from patterns of its name, and parameters with the
same factors make a group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn, optim
from torch.nn.modules.conv import _ConvNd

from clscli.engine.optimizers.fields import ParameterGroups
from clscli.errors import PluginError
from clscli.models.backbones.stages import parts_of
from clscli.models.classifier import Classifier
from clscli.plugins import near_names
from clscli.spec import Bound, ResolvedSpec
from clscli.spec.groups import Groups
from clscli.toml import Path, format_value

Kind = Literal["weight", "dwconv", "bias", "norm", "token"]

# `cls_token`, `pos_embed`, `position_embedding`, `rel_pos_h`, `relative_position_bias_table`
_TOKEN_NAME = re.compile(r"token|(^|_)pos(ition)?s?(_|$|emb)")


class GroupError(ValueError):
    """A key of `optimizer.groups` that does not fit the model; `path` leads to it."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Factors(NamedTuple):
    """What a parameter's learning rate and weight decay are multiplied by."""

    lr: float
    decay: float


@dataclass(frozen=True)
class GroupRow:
    """What a report shows of one group of an optimizer."""

    num_tensors: int
    num_parameters: int
    lr: float
    weight_decay: float | None  # None: the optimizer has none
    first: str  # the name of the first parameter


def build_optimizer(spec: ResolvedSpec, model: Classifier) -> optim.Optimizer:
    """Build the optimizer that a spec asks for, of the parameters of a model that are trained.

    Raises SpecError when its groups do not fit the model or the optimizer.
    """
    bound = spec.one("optimizer")
    groups = Groups(**bound.builder.get("groups", {}))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise spec.error(("model",), "there is nothing to train: every parameter is frozen")
    try:
        params = parameter_groups(factors_of(model, groups), model, _base(bound))
    except GroupError as error:
        raise spec.error((*bound.path, "groups", *error.path), str(error)) from error
    optimizer = spec.construct(bound, params=params, hidden_weights=hidden_weights(model))
    if not isinstance(optimizer, optim.Optimizer):
        raise PluginError(
            f"{bound.component} breaks its contract: it must be a torch.optim.Optimizer, "
            f"not {type(optimizer).__name__}"
        )
    return optimizer


def _base(bound: Bound) -> Mapping[str, float]:
    """Return the optimizer's own learning rate and weight decay, as far as it has them."""
    parameters = bound.complete_parameters()
    return {key: parameters[key] for key in ("lr", "weight_decay") if key in parameters}


def parameter_groups(
    factors: Mapping[str, Factors], model: nn.Module, base: Mapping[str, float]
) -> ParameterGroups:
    """Gather the trained parameters with the same factors; only what differs from `base` stands in a group.

    Groups at the plain rate come first, since a run reports the rate of the first group; then those with the
    larger factors. Raises GroupError when the optimizer has no rate or weight decay to multiply.
    """
    gathered: dict[Factors, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gathered.setdefault(factors[name], []).append(parameter)
    groups = []
    for key in sorted(gathered, key=lambda key: (key.lr != 1, -key.lr, -key.decay)):
        group: dict[str, Any] = {"params": gathered[key]}
        for name, factor in (("lr", key.lr), ("weight_decay", key.decay)):
            if factor == 0:
                group[name] = 0.0
            elif factor != 1 and name not in base:
                raise GroupError((), f"multiplies {name} by {factor:g}, but the optimizer has no parameter {name}")
            elif factor != 1:
                group[name] = base[name] * factor
        groups.append(group)
    return groups


def factors_of(model: Classifier, groups: Groups) -> dict[str, Factors]:
    """Find the factors of every parameter by its name, also of frozen ones.

    What a pattern sets holds in place of all other factors; of several, that of the last pattern that matches.
    Raises GroupError for a pattern that matches nothing, and where a depth is asked of a backbone without one.
    """
    decays = {
        "weight": 1.0,
        "dwconv": groups.dwconv_decay,
        "bias": groups.bias_decay,
        "norm": groups.norm_decay,
        "token": groups.token_decay,
    }
    depth = depth_factors(model, groups.layer_decay)
    found = {}
    for name, parameter in model.named_parameters():
        kind = kind_of(model, name)
        lr = depth.get(id(parameter), 1.0) * (groups.bias_lr if kind == "bias" else 1.0)
        if not name.startswith("backbone."):
            lr *= groups.head_lr
        found[name] = Factors(lr, decays[kind])
    for pattern, values in groups.patterns.items():
        matching = [name for name in found if fnmatchcase(name, pattern)]
        if not matching:
            raise GroupError(("patterns", pattern), f"matches no parameter -- {_hint(pattern, found)}")
        for name in matching:
            found[name] = found[name]._replace(**values)
    return found


def _hint(pattern: str, names: Mapping[str, Any]) -> str:
    """Name what a pattern may have meant: whole modules first, then single parameters."""
    modules = {
        f"{name.rsplit('.', count)[0]}.*": None for name in names for count in range(name.count("."), 0, -1)
    }
    near = near_names(pattern, [*modules, *names])
    if near:
        return f"did you mean {near}?"
    parts = dict.fromkeys(f"{name.partition('.')[0]}.*" for name in names)
    return f"there are: {', '.join(format_value(part) for part in parts)}"


def kind_of(model: nn.Module, name: str) -> Kind:
    """Tell what a parameter is to its layer.

    Decaying biases and norms does not regularise, it only rescales (He et al., "Bag of tricks", 2019, section
    3.1); that tokens and position embeddings are spared as well is the custom since the first transformers.
    """
    parameter, (path, _, short) = model.get_parameter(name), name.rpartition(".")
    layer = model.get_submodule(path)
    if isinstance(layer, nn.Embedding) or (short not in ("weight", "bias") and _TOKEN_NAME.search(short)):
        return "token"
    weight = getattr(layer, "weight", None)
    if short.endswith("bias") and parameter.ndim <= 1:
        return "norm" if isinstance(weight, Tensor) and weight.ndim <= 1 else "bias"
    # A scale may be shaped to be multiplied with a map: (C, 1, 1).
    if parameter.ndim <= 1 or (short != "weight" and parameter.numel() == max(parameter.shape)):
        return "norm"
    if isinstance(layer, _ConvNd) and layer.groups == layer.in_channels > 1:
        return "dwconv"
    return "weight"


def depth_factors(model: Classifier, layer_decay: float) -> dict[int, float]:
    """Find by id the factor of each parameter of the backbone: a power of `layer_decay`, by layers below the head.

    Empty when nothing decays. Raises GroupError when the backbone does not list its stages.
    """
    if layer_decay == 1:
        return {}
    layers, num_layers = layers_of(model.backbone)
    return {key: layer_decay ** (num_layers - layer) for key, layer in layers.items()}


def layers_of(backbone: nn.Module) -> tuple[dict[int, int], int]:
    """Number the layers of a backbone by depth; return the layer of each parameter, by id, and their number.

    The stem is layer 0, with tokens and position embeddings, then each block of each stage counts as one. A norm
    between blocks belongs to the block that follows it, and after the last block to the head, whose layer is the
    number returned. Raises GroupError when the backbone does not list its stages.
    """
    stem_and_stages = getattr(backbone, "stem_and_stages", None)
    if not callable(stem_and_stages):
        raise GroupError(
            ("layer_decay",),
            f"needs a backbone whose stem_and_stages() lists its blocks, which {type(backbone).__name__} does not "
            "have -- set patterns instead",
        )
    layers = {id(parameter): 0 for parameter in backbone.parameters()}
    layer = 1
    for stage in stem_and_stages()[1:]:
        modules = [inner for m in stage for inner in (m if isinstance(m, nn.ModuleList) else [m])]
        for part in parts_of(modules):
            parameters = list(part.parameters())
            layers.update((id(parameter), layer) for parameter in parameters)
            layer += any(parameter.ndim > 1 for parameter in parameters)
    return layers, layer


def hidden_weights(model: Classifier) -> list[Tensor]:
    """Return the weights between the layer that sees the pixels and the head."""
    weights = [
        parameter
        for name, parameter in model.named_parameters()
        if not name.startswith("head.") and kind_of(model, name) == "weight"
    ]
    return list(weights[1:])


def describe_groups(optimizer: optim.Optimizer, model: nn.Module, lr_factor: float) -> list[GroupRow]:
    """Count what is in each group of an optimizer whose rates will be multiplied by `lr_factor`."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        GroupRow(
            num_tensors=len(group["params"]),
            num_parameters=sum(parameter.numel() for parameter in group["params"]),
            lr=group["lr"] * lr_factor,
            weight_decay=group["weight_decay"] if "weight_decay" in optimizer.defaults else None,
            first=names[id(group["params"][0])],
        )
        for group in optimizer.param_groups
    ]
