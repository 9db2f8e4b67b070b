"""Losses, transforms, data and what trains, each of which breaks one rule."""

import io
import random

import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

from clscli.data.region import Region

# Losses


class NotReduced:
    """Cross entropy."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, reduction="none")


class IndicesOnly:
    """Cross entropy."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return -logits.log_softmax(1).gather(1, target[:, None]).mean()


class Upwards:
    """The probability of the right class."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return -F.cross_entropy(logits, target)


class WithoutGradient:
    """Cross entropy."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits.detach(), target)


class OfProbabilities:
    """Cross entropy."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():
            raise ValueError("it needs class indices")
        return -logits.softmax(1).gather(1, target[:, None]).log().mean()


class SecretSum:
    """Cross entropy."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, reduction="sum")


class WritesLogits:
    """Cross entropy."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        value = F.cross_entropy(logits, target)
        logits.data.zero_()
        return value


class RandomBuffer(nn.Module):
    """Cross entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.training:
            self.register_buffer("seen", torch.zeros(1))
        return F.cross_entropy(logits, target)


class GivesPairs:
    """Cross entropy."""

    def given(self, images: Tensor):
        return lambda logits, target: (self(logits, target), images)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target)


# Transforms


class MakesFloats:
    """Make floats."""

    def __call__(self, image: Tensor) -> Tensor:
        return image / 255


class WritesImage:
    """Blacken the first row."""

    def __call__(self, image: Tensor) -> Tensor:
        image[:, 0] = 0
        return image


class OwnGenerator:
    """Brighten by chance."""

    def __init__(self) -> None:
        self.random = random.Random(0)

    def __call__(self, image: Tensor) -> Tensor:
        return image // 2 + self.random.randrange(100)


class RandomInEval:
    """Flip by chance."""

    def __init__(self, split: str) -> None:
        self.split = split

    def __call__(self, image: Tensor) -> Tensor:
        return image.roll(int(torch.randint(10, ())), 2)


class HoldsLambda:
    """Turn a picture into its negative."""

    def __init__(self) -> None:
        self.function = lambda image: 255 - image

    def __call__(self, image: Tensor) -> Tensor:
        return self.function(image)


class OtherRegion:
    """Cut out the middle."""

    def region(self, height: int, width: int) -> Region:
        return Region(1, 1, height - 2, width - 2, height - 2, width - 2, "bilinear")

    def __call__(self, image: Tensor) -> Tensor:
        return image[:, 2:, 2:]


# Batch transforms


class SoundMix:
    """Nothing but one-hot targets."""

    p = 0.5

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images, F.one_hot(targets, self.num_classes).float()


class Certainly(SoundMix):
    """Nothing but one-hot targets."""

    p = 2


class Indices(SoundMix):
    """Nothing."""

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images, targets


class Doubled(SoundMix):
    """Nothing but targets."""

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images, 2 * F.one_hot(targets, self.num_classes).float()


class Counts(SoundMix):
    """More and more light."""

    calls = 0

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return images + self.calls, F.one_hot(targets, self.num_classes).float()


# Data sets


class SoundData:
    """Four gray pictures."""

    classes = ["a", "b"]  # noqa: RUF012
    num = 4

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 8, 8), index, dtype=torch.uint8), index % 2


class TwiceA(SoundData):
    """Four gray pictures."""

    classes = ["a", "a"]  # noqa: RUF012


class Empty(SoundData):
    """No pictures."""

    num = 0


class FloatPixels(SoundData):
    """Four gray pictures."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(3, 8, 8), index % 2


class NoSuchClass(SoundData):
    """Four gray pictures."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return super().__getitem__(index)[0], index


class OtherTargets(SoundData):
    """Four gray pictures."""

    targets = [0, 0, 0, 0]  # noqa: RUF012


class SameNames(SoundData):
    """Four gray pictures."""

    def name(self, index: int) -> str:
        return "picture"


class OpenFile(SoundData):
    """Four gray pictures."""

    def __init__(self) -> None:
        self.file = io.TextIOWrapper(io.BytesIO())


# Samplers


class NoSamples:
    """Nothing."""

    def __init__(self, targets: Tensor) -> None:
        self.num = 0

    def __len__(self) -> int:
        return self.num


class OneTooMany:
    """All samples."""

    def __init__(self, targets: Tensor) -> None:
        self.num = len(targets)

    def __len__(self) -> int:
        return self.num

    def __call__(self, generator: torch.Generator) -> Tensor:
        return torch.arange(1, self.num + 1)


class FloatOrder(OneTooMany):
    """All samples."""

    def __call__(self, generator: torch.Generator) -> Tensor:
        return torch.rand(self.num)


class GlobalOrder(OneTooMany):
    """All samples."""

    def __call__(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self.num)


# Optimizers


class NoOptimizer:
    """Nothing."""

    def __init__(self, params: list) -> None:
        self.params = params


class FirstGroup(optim.SGD):
    """SGD of the first group."""

    def __init__(self, params: list, *, lr: float = 0.1) -> None:
        super().__init__(params[:1], lr=lr)


class SkipsVectors(optim.SGD):
    """SGD of matrices."""

    def __init__(self, params: list, *, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim > 1:
                    parameter.data -= group["lr"] * parameter.grad


class NeedsGradients(optim.SGD):
    """SGD of parameters that all have gradients."""

    def __init__(self, params: list, *, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data -= group["lr"] * parameter.grad


class OwnRate(optim.SGD):
    """SGD at a rate of its own."""

    def __init__(self, params: list, *, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self.rate = lr

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data -= self.rate * parameter.grad


class OwnCount(OwnRate):
    """SGD at a rate that falls, and a count of its own."""

    def step(self, closure=None):
        self.count = getattr(self, "count", 0) + 1
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.data -= group["lr"] / self.count * parameter.grad


# Schedulers


class Negative:
    """A line that goes on below 0."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def __call__(self, step: int) -> float:
        return 1 - 2 * step / self.num_steps


class Stepped:
    """Fall a little with every call."""

    def __init__(self) -> None:
        self.factor = 1.0

    def __call__(self, step: int) -> float:
        self.factor *= 0.9
        return self.factor


class Heavy:
    """A constant rate."""

    def __call__(self, step: int) -> float:
        return 1.0

    def momentum(self, step: int) -> float:
        return 1.5


class Forgetful:
    """A constant rate, halved by each validation."""

    factor = 1.0

    def __call__(self, step: int) -> float:
        return self.factor

    def observe(self, metrics: dict) -> None:
        self.factor /= 2

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class Stateless:
    """A constant rate, halved by each validation."""

    def __call__(self, step: int) -> float:
        return 1.0

    def observe(self, metrics: dict) -> None:
        pass


# Hooks


class Misspelt:
    """Do nothing."""

    def on_epoch_ended(self, state) -> None:
        pass


class Eventless:
    """Do nothing."""


class Urgent:
    """Do nothing."""

    priority = "high"

    def on_epoch_end(self, state) -> None:
        pass


class Stumbles:
    """Do nothing well."""

    def on_epoch_end(self, state) -> None:
        state.write("done")


class NeverLoads:
    """Count epochs."""

    epochs = 0

    def on_epoch_end(self, state) -> None:
        self.epochs += 1

    def state_dict(self) -> dict:
        return {"epochs": self.epochs}


class LoadsNothing(NeverLoads):
    """Count epochs."""

    def load_state_dict(self, state: dict) -> None:
        pass
