"""What a component of each kind must be, in words: for pages, for messages, and rule by rule for `clscli.testing`.

`python -m clscli.contracts DIR` writes one page for each kind, `DIR/<kind>.md`; without DIR it prints the table in
the README. Nothing here imports torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clscli.files import atomic_write
from clscli.plugins import CORE, KINDS, NAME_RULE

# What holds for every kind, in the order in which it is checked.
COMMON = {
    "name": f"it is found by its entry point, and {NAME_RULE}",
    "imports": "importing it connects to nothing and writes no file",
    "signature": "every parameter that a spec sets is keyword-only, annotated, and of a type that TOML can write",
    "description": "the first line of its docstring is one whole sentence, for a user who reads a list",
    "defaults": "every default fits its own type",
    "builds": "it can be called with the parameters of a spec and what clscli gives it",
}

_OUT_CHANNELS = "it has an attribute `out_channels`, one int or a tuple of them, one for each output"

# What holds for every part of a model.
_MODULE = {
    "inputs": "what it is given stays as it was",
    "modes": "`train()` and `eval()` return it, and `eval()` reaches all its parts",
    "samples": "in evaluation, what comes out for a picture depends on that picture alone, and is always the same",
    "gradients": "every parameter that is trained gets a finite gradient",
    "state_dict": "its state dict, loaded into another one, makes that one compute the same",
    "copies": "a deep copy and a pickled one compute the same",
    "compiles": "`torch.compile(fullgraph=True)` can trace it, unless it says `compiles = False`",
}
_COMPILES = {
    "compiles": "`False` where torch.compile cannot trace it as one graph; no attribute means that it can"
}
_LAST = "where it takes `in_channels: int`, it takes the last of several outputs and leaves the others"


@dataclass(frozen=True)
class Contract:
    """What a component of one kind is given, must be, and may have."""

    is_a: str
    rules: Mapping[str, str]  # by name, each of them checked; one whole clause
    injected: Mapping[str, str] = field(default_factory=dict)  # for each of `Kind.injected`, what it is
    optional: Mapping[str, str] = field(default_factory=dict)  # attributes and methods, and what they are for


CONTRACTS: dict[str, Contract] = {
    "backbones": Contract(
        "a module from images `(B, C, H, W)` to maps or vectors, one or a tuple; attribute `out_channels`",
        rules={
            "module": "it is a `torch.nn.Module`",
            "out_channels": _OUT_CHANNELS,
            "outputs": "`forward(images)` takes floats `(B, C, H, W)` and returns a map `(B, C_i, H_i, W_i)` or a "
            "vector `(B, C_i)`, or a tuple of them from shallow to deep, with the channels of `out_channels`",
            "sizes": "it takes pictures of any height and width, or says in a ValueError what it needs",
            "channels": "it takes pictures of as many channels as it was built for, 1 and 3 among them",
            **_MODULE,
        },
        injected={"in_channels": "the number of channels of the pictures"},
        optional={
            **_COMPILES,
            "companions": "`companions(parameters)` returns the tables of the neck and the head that it was "
            "published with, for a spec that names none",
            "key_maps": "how other libraries name the same parameters: see `clscli/models/matching.py`",
            "adapt_weights": "`adapt_weights(weights)` changes weights of others before they are loaded",
            "paper": "a link",
        },
    ),
    "necks": Contract(
        "a module from outputs to outputs; attribute `out_channels`",
        rules={
            "module": "it is a `torch.nn.Module`",
            "out_channels": _OUT_CHANNELS,
            "outputs": "`forward(outputs)` takes what a backbone returns and returns the same kinds of things, "
            "with the channels of `out_channels`",
            "several": _LAST,
            **_MODULE,
        },
        injected={
            "in_channels": "`int`: the channels of the last output; `tuple[int, ...]`: those of every output"
        },
        optional=_COMPILES,
    ),
    "heads": Contract(
        "a module from outputs to logits `(B, K)`",
        rules={
            "module": "it is a `torch.nn.Module`",
            "outputs": "`forward(outputs)` returns logits `(B, K)` for K classes, in training perhaps several",
            "several": _LAST,
            "predict": "if it has `predict(outputs)`, that returns one tensor of logits `(B, K)`",
            "loss": "if it has `loss(logits, target, criterion)`, that returns a finite scalar for targets "
            "`int64 (B,)`",
            **_MODULE,
        },
        injected={
            "in_channels": "`int`: the channels of the last output; `tuple[int, ...]`: those of every output",
            "num_classes": "the number of classes",
        },
        optional={
            **_COMPILES,
            "predict": "`predict(outputs)` returns the logits of a prediction; without it they are what `forward` "
            "returns, or the mean of it",
            "loss": "`loss(logits, target, criterion)` returns the loss of what `forward` returned in training; "
            "without it the loss is the criterion's, or the mean over several logits",
        },
    ),
    "losses": Contract(
        "`(logits, target) -> scalar`",
        rules={
            "scalar": "called with logits `(B, K)` and a target, `int64 (B,)`, it returns a scalar",
            "inputs": "what it is given stays as it was",
            "soft_targets": "it takes targets `float (B, K)` too, or says in a ValueError that it does not",
            "gradients": "the logits get a finite gradient",
            "direction": "it is smaller for logits that are sure of the right class than for a wrong one",
            "finite": "it is finite, and so is its gradient, for logits that are sure of a right or a wrong class",
            "reduction": 'it is a mean over the batch, or has an attribute `reduction = "sum"` and is a sum',
            "state_dict": "if it is a module, its state dict can be loaded into another one",
            "given": "if it has `given(images)`, that returns the loss of one batch, called in the same way",
        },
        injected={
            "num_classes": "the number of classes",
            "class_counts": "the number of training pictures of every class, `tuple[int, ...]`",
            "num_samples": "the number of training pictures: the sum of these, unless some have several labels",
            "load_teacher": "`load_teacher(path)` opens a checkpoint as a function from images to logits; None in "
            "evaluation",
        },
        optional={
            "reduction": '`"sum"` where the scalar is a sum over the batch',
            "label_mode": '`"single"` where it is for one label a picture, as a softmax is, `"multi"` where it is '
            "for several; without it, it is for either",
            "given": "`given(images)`, called in training alone, returns the loss of one batch of images, "
            "`uint8 (B, C, H, W)`, or floats from 0 to 255 where batches are mixed",
        },
    ),
    "transforms": Contract(
        "`uint8 (C, H, W) -> uint8 (C, H, W)`",
        rules={
            "output": "called with a picture, `uint8 (C, H, W)` of 1 or 3 channels, it returns another one",
            "inputs": "what it is given stays as it was",
            "draws": "it draws from the global generators of torch, Python or NumPy alone, and keeps nothing from "
            "one picture to the next",
            "evaluation": "if it takes `split`, it draws nothing where that is not 'train'",
            "copies": "a pickled copy does the same: other processes have one",
            "region": "if it has `region(height, width)`, that is the part of the picture that calling it returns",
        },
        injected={"split": "'train', or 'val' where it evaluates"},
        optional={
            "p": "its probability, a float: with 0 < p < 1 it is known to be random",
            "region": "`region(height, width)` returns a `clscli.data.region.Region`, so that large JPEGs are "
            "decoded faster",
        },
    ),
    "batch_transforms": Contract(
        "`(float (B, C, H, W), targets) -> (images, float (B, K))`; attribute `p`",
        rules={
            "probability": "it has an attribute `p`, a float from 0 to 1: the probability that a batch gets it",
            "output": "called with images, `float (B, C, H, W)` from 0 to 255, and targets, `int64 (B,)`, it "
            "returns images of the same shape and type and targets `float32 (B, K)`",
            "targets": "each of its targets is a distribution over the classes: not negative, with the sum 1",
            "draws": "it draws from torch's global CPU generator alone, and keeps nothing between batches",
        },
        injected={"num_classes": "the number of classes"},
        optional={},
    ),
    "datasets": Contract(
        "has `classes`, `len()`, and items `clscli.data.samples.Sample(source, target)`",
        rules={
            "classes": "`classes` is a list of different names; of pictures without labels, an empty one",
            "length": "`len()` is the number of samples, at least one",
            "items": "item i is a `Sample(source, target)` whose source can be read: a path, a URL, encoded "
            "bytes, a Pillow image, or pixels `uint8 (3 or 1, H, W)`",
            "labels": "a target is an index into `classes`; with `multi_label = True`, a tuple of them; without "
            "labels, None",
            "targets": "if it has `targets`, that is the target of every sample",
            "names": "if it has `name(index)`, no two samples have the same, unless it says `repeats = True`",
            "copies": "a pickled copy has the same samples: other processes have one",
        },
        injected={"split": "'train', 'val' or 'test'"},
        optional={
            "targets": "the target of every sample; without it each is fetched once to ask for its own",
            "name": "`name(index)` names a sample independently of where the data lie, in messages and in saved "
            "divisions",
            "multi_label": "`True` where a target is a tuple of class indices",
            "repeats": "`True` where it shows pictures several times",
            "divides_itself": "`True` where `split` alone chooses the pictures for training or validation",
        },
    ),
    "samplers": Contract(
        "has `len()`, and is called with a generator for the `int64` indices of an epoch",
        rules={
            "length": "`len()` is the number of samples in an epoch, at least one",
            "order": "called with a `torch.Generator`, it returns `int64 (len,)`, indices of samples",
            "draws": "it draws from that generator alone, and keeps nothing from one epoch to the next",
        },
        injected={
            "targets": "the class index of every sample, `int64 (N,)`",
            "num_classes": "the number of classes",
        },
    ),
    "optimizers": Contract(
        "a `torch.optim.Optimizer`",
        rules={
            "optimizer": "it is a `torch.optim.Optimizer`, and each parameter is in one of its groups",
            "step": "a step changes every parameter that has a gradient, and no other",
            "rate": "each step takes the rate of a group from `group['lr']`: with 0 nothing changes",
            "state_dict": "its state dict holds tensors and plain values, and another one that loads it takes the "
            "same next step",
        },
        injected={
            "params": "torch's list of parameter groups",
            "hidden_weights": "the weights between the first layer and the head",
        },
    ),
    "schedulers": Contract(
        "`step -> factor` of the learning rate; may have `momentum(step)`, `observe(metrics)`",
        rules={
            "factors": "called with a step, from 0, it returns a finite float, not negative",
            "pure": "what it returns depends on the step alone, and on what it has observed",
            "momentum": "if it has `momentum(step)`, that is from 0 to 1, or None at every step",
            "observe": "if it has `observe(metrics)`, it has `state_dict` and `load_state_dict`, of plain values, "
            "and another one that loads it goes on in the same way",
        },
        injected={
            "num_steps": "the optimizer steps of the whole run",
            "steps_per_epoch": "those of one epoch",
            "train_monitor": "the metric that makes an epoch the best",
        },
        optional={
            "momentum": "`momentum(step)`: that of SGD, or Adam's first beta",
            "observe": "`observe(metrics)` is called after every validation",
        },
    ),
    "hooks": Contract(
        "an object with any of `on_run_start, on_epoch_start, on_step_end, on_validation_end, on_epoch_end, "
        "on_run_end`",
        rules={
            "events": "it has at least one of the six events, and no method that only looks like one",
            "attributes": "`priority` is an int; `main_only` and `needs_whole_model` are bools",
            "run": "its events can be called in the order of a run, each with a `clscli.engine.hooks.HookState`",
            "state_dict": "if it has `state_dict()`, of tensors and plain values, it has `load_state_dict(state)`"
            ", and another one that loads it keeps the same",
        },
        optional={
            "priority": "hooks with a smaller one run first; 0 without it",
            "main_only": "`True` for a hook that writes files or talks to a service: of several processes, it "
            "runs in the first alone",
            "needs_whole_model": "`True` for a hook that needs all weights in one process",
            "state_dict": "`state_dict()` and `load_state_dict(state)`: what survives `--resume`",
        },
    ),
}


def format_kinds() -> str:
    """Write the table of kinds that the README has."""
    rows = ["| kind | is called with | and is |", "|---|---|---|"]
    for kind, contract in CONTRACTS.items():
        injected = ", ".join(f"`{name}`" for name in KINDS[kind].injected)
        rows.append(f"| {KINDS[kind].singular} | {injected} | {contract.is_a} |")
    return "\n".join(rows) + "\n"


def format_page(kind: str) -> str:
    """Write the page of one kind."""
    contract, word = CONTRACTS[kind], KINDS[kind].singular
    option = word.replace(" ", "-")
    sections = [
        f"# {word[0].upper()}{word[1:]}",
        f"<!-- Written by: python -m clscli.contracts {Path('plugins_example', 'contracts').as_posix()} -->",
        f"A {word} is {contract.is_a}." if contract.is_a.startswith("a") else f"A {word}: {contract.is_a}.",
        f"It is found by an entry point of the group `{CORE}.{kind}`. A small one to begin with, and its test:",
        f"```\n$ clscli new plugin my-package --kind {option}\n```",
    ]
    if contract.injected:
        sections += [
            "## What clscli gives it",
            "Of these it takes what its signature names. All other parameters are the spec's.",
            _list({f"`{name}`": text for name, text in contract.injected.items()}),
        ]
    sections += ["## What it must be", _list({**COMMON, **contract.rules})]
    if contract.optional:
        sections += ["## What it may have", _list({f"`{name}`": text for name, text in contract.optional.items()})]
    sections += [
        "## The test",
        "It tries every rule of this page, and names those that are broken, with what was found and what to do:",
        "```python\nfrom clscli.testing import check_component\n\n\n"
        f'def test_mine():\n    check_component("{kind}", "my_component")\n```',
    ]
    return "\n\n".join(sections) + "\n"


def _list(items: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in items.items())


def main() -> None:
    """Print the table of kinds, or write a page for each of them into the folder that is named."""
    if not sys.argv[1:]:
        print(format_kinds(), end="")
        return
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in CONTRACTS:
        with atomic_write(folder / f"{kind}.md") as temporary:
            temporary.write_text(format_page(kind), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
