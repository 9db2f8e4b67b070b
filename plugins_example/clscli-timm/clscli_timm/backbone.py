"""timm's models as backbones."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import timm
from pydantic import Field
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from clscli.models.layers.outputs import Outputs
from clscli_timm.weights import TimmWeights, fit_to_model, weights_of

Rate = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[int, Field(ge=1)]


class TimmBackbone(nn.Module):
    """Any model of timm, by the name that timm gives it.

    Without `out_indices` it gives the vector that timm's own classifier gets, which goes straight to a linear
    head. With them it gives maps of the stages or blocks of these numbers, shallow to deep, negative ones
    counted from the end, as timm's `forward_intermediates` does: for necks that want several outputs.

    `image_size` is for the models whose position embeddings or windows are made for one size of pictures; without
    it they get the size of their weights. The others take pictures of any size and have no use for it.
    `drop_path_rate` is the chance that a block is skipped in training; without it the model's own default holds.

    Ross Wightman, "PyTorch image models", 2019, https://github.com/huggingface/pytorch-image-models.
    """

    model: Any  # a module, with what timm's models have besides

    def __init__(
        self,
        in_channels: int,
        *,
        model: str,
        out_indices: tuple[int, ...] = (),
        image_size: Side | None = None,
        drop_path_rate: Rate | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if not timm.is_model(model):
            raise ValueError(
                f"timm {timm.__version__} has no model '{model}' -- see: clscli list backbones 'timm/*'"
            )
        self.name, self.out_indices = model, list(out_indices)
        options: dict[str, Any] = {"in_chans": in_channels, "num_classes": 0}
        if image_size is not None and has_fixed_size(model):
            options["img_size"] = image_size
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        try:
            self.model = timm.create_model(model, **options)
        except TypeError as error:
            if drop_path_rate is None or "drop_path_rate" not in str(error):
                raise
            raise ValueError(f"timm's {model} has no drop_path_rate -- remove it") from error
        if gradient_checkpointing:
            self.model.set_grad_checkpointing()
        if self.out_indices:
            self._leave_out_what_is_unused()
        self.out_channels: int | tuple[int, ...] = self._out_channels()

    def _leave_out_what_is_unused(self) -> None:
        """Prune what comes after the last stage asked for: its weights would get no gradient."""
        num_stages = len(self.model.feature_info)
        if any(not -num_stages <= index < num_stages for index in self.out_indices):
            raise ValueError(
                f"out_indices of timm's {self.name} are from 0 to {num_stages - 1}, got {self.out_indices}"
            )
        self.out_indices = sorted({index % num_stages for index in self.out_indices})
        self.model.prune_intermediate_layers(self.out_indices, prune_norm=True, prune_head=True)

    def _out_channels(self) -> int | tuple[int, ...]:
        if not self.out_indices:
            return int(self.model.head_hidden_size)
        return tuple(self.model.feature_info[index]["num_chs"] for index in self.out_indices)

    def forward(self, images: Tensor) -> Outputs:
        if not self.out_indices:
            vectors: Tensor = self.model(images)
            return vectors
        maps: Sequence[Tensor] = self.model.forward_intermediates(
            images, indices=self.out_indices, intermediates_only=True, output_fmt="NCHW"
        )
        return tuple(maps)

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fit tensors to the model as timm does: other names, position embeddings of another size."""
        own = self.state_dict()
        if own.keys() <= tensors.keys():
            return dict(tensors)  # clscli's own
        fitted = fit_to_model(self.name, self.model, tensors)
        return {f"model.{name}" if f"model.{name}" in own else name: tensor for name, tensor in fitted.items()}

    @staticmethod
    def published_weights(parameters: Mapping[str, Any]) -> list[TimmWeights]:
        """List timm's weights for the model, the default ones first."""
        return weights_of(parameters["model"]) if timm.is_model(parameters.get("model", "")) else []


def has_fixed_size(model: str) -> bool:
    """Tell whether a model is made for pictures of one size."""
    config = get_pretrained_cfg(model)
    return config is not None and bool(config.fixed_input_size)


class NamedBackbone:
    """One model of timm: `TimmBackbone` without those parameters that the name has settled."""

    def __init__(self, model: str) -> None:
        self.model = model
        settled = {"model"} if has_fixed_size(model) else {"model", "image_size"}
        signature = inspect.signature(TimmBackbone)
        parameters = [p for name, p in signature.parameters.items() if name not in settled]
        self.__signature__ = signature.replace(parameters=parameters)
        self.__name__ = TimmBackbone.__name__
        self.__doc__ = _describe(model)

    def __call__(self, in_channels: int, **parameters: Any) -> TimmBackbone:
        return TimmBackbone(in_channels, model=self.model, **parameters)

    def published_weights(self, _: Mapping[str, Any]) -> list[TimmWeights]:
        """List timm's weights of this name, the default ones first."""
        return weights_of(self.model)


def _describe(model: str) -> str:
    architecture, _, tag = model.partition(".")
    weights = f" with the weights {tag}" if tag else ""
    family = timm.models.model_entrypoint(model).__module__.rpartition(".")[2]
    return f"timm's {architecture}{weights}, of its module {family}.\n\n{_rest(TimmBackbone.__doc__ or '')}"


def _rest(docstring: str) -> str:
    """Return a docstring without its first line."""
    return inspect.cleandoc(docstring).partition("\n")[2].strip()
