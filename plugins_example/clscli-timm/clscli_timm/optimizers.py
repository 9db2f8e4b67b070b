"""timm's optimizers, from its own table of them."""

import inspect
from typing import Annotated, Any

from pydantic import Field
from timm.optim import create_optimizer_v2, get_optimizer_class, get_optimizer_info, list_optimizers
from torch.optim import Optimizer

from clscli.engine.optimizers.fields import ParameterGroups

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# How a step is computed, not what: torch chooses well, and no spec should depend on it.
_TECHNICAL = {"foreach", "fused", "capturable", "maximize", "differentiable", "verbose"}


def usable_optimizers() -> list[str]:
    """List the optimizers that a spec can name.

    Without those of apex and bitsandbytes, which are no part of timm, and without those that need the gradient of
    the gradient, which clscli does not compute.
    """
    infos = [get_optimizer_info(str(name)) for name in list_optimizers()]
    return [info.name for info in infos if not (isinstance(info.opt_class, str) or info.second_order)]


class NamedOptimizer:
    """One optimizer of timm, with the parameters and the defaults of `timm.optim.create_optimizer_v2`."""

    def __init__(self, name: str) -> None:
        info = get_optimizer_info(name)
        self.name = name
        self.__name__ = name
        self.__doc__ = (
            f"{info.description}, from timm.\n\n"
            "Parameters, defaults and weight decay are those of timm's create_optimizer_v2."
        )
        defaults = dict(info.defaults or {}) | {"weight_decay": 0.0}
        if info.has_momentum:
            defaults.setdefault("momentum", 0.9)
        parameters = [inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        own = inspect.signature(get_optimizer_class(name, bind_defaults=False)).parameters
        for parameter in own.values():
            value = defaults.get(parameter.name, parameter.default)
            annotation = _type_of(parameter.name, value)
            if parameter.name not in _TECHNICAL and annotation is not None:
                default = value if isinstance(value, bool | int | float | str | tuple) else inspect.Parameter.empty
                parameters.append(
                    inspect.Parameter(
                        parameter.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
                    )
                )
        self.__signature__ = inspect.Signature(parameters)

    def __call__(self, params: ParameterGroups, **parameters: Any) -> Optimizer:
        return create_optimizer_v2(params, self.name, **parameters)


def _type_of(name: str, default: Any) -> Any:
    """Return the type of a parameter as a spec has it; None for what a spec cannot say."""
    if name == "lr":
        return NonNegative  # a spec always has a rate, also where timm would find one by itself
    if isinstance(default, bool | str):
        return type(default)
    if isinstance(default, int | float):
        return float if name in ("weight_decay", "momentum", "dampening", "lr_decay") else type(default)
    if isinstance(default, tuple):
        return tuple[tuple(type(element) for element in default)]  # type: ignore[misc]  # as long as the default
    return None
