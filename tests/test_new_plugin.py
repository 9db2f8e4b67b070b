"""What `clscli new plugin` writes: a package that is whole, and components that work as they are."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from fake_packages import FakePackages

from clscli import train
from clscli.new_plugin import EXAMPLES, core_requirement, plugin_files, write_plugin
from clscli.plugins import KINDS, clear_cache, find_components

ROOT = Path(__file__).parents[1]
LICENSES = {"MIT": "MIT License", "Apache-2.0": "Apache License", "BSD-3-Clause": "BSD 3-Clause License"}


@pytest.fixture
def everything(tmp_path, monkeypatch):
    """A package of all kinds, as if it was installed; returns its folder."""
    folder = tmp_path / "some-parts"
    write_plugin("some-parts", list(KINDS), license_name="MIT", out=folder)
    groups = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
    entries = {group.removeprefix("clscli."): table for group, table in groups.items()}
    FakePackages(tmp_path, monkeypatch).install("some-parts", entries, requires=["clscli>=0.1"])
    monkeypatch.syspath_prepend(folder)
    clear_cache()
    yield folder
    for module in [m for m in sys.modules if m.partition(".")[0] == "some_parts"]:
        del sys.modules[module]
    monkeypatch.undo()
    clear_cache()


def test_the_files_of_a_package():
    files = plugin_files("my-nets", ["backbones", "losses"], "MIT")
    assert sorted(files) == [
        ".github/workflows/test.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "my_nets/__init__.py",
        "my_nets/generalized_cross_entropy.py",
        "my_nets/separable_net.py",
        "pyproject.toml",
        "tests/test_components.py",
    ]
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert (project["name"], project["license"]) == ("my-nets", "MIT")
    assert project["dependencies"][0] == "clscli>=0.1,<0.2"
    assert project["entry-points"] == {
        "clscli.backbones": {"separable_net": "my_nets.separable_net:SeparableNet"},
        "clscli.losses": {
            "generalized_cross_entropy": "my_nets.generalized_cross_entropy:GeneralizedCrossEntropy"
        },
    }
    assert (
        '        ("backbones", "my-nets:separable_net"),\n        ("losses", "my-nets:gen'
        in files["tests/test_components.py"]
    )
    assert "    clscli list backbones my-nets:separable_net\n" in files["README.md"]
    assert "python-version: ${{ matrix.python }}" in files[".github/workflows/test.yml"]
    compile(files["tests/test_components.py"], "tests", "exec")
    assert not any("$name" in text or "$module" in text or "$kinds" in text for text in files.values())


@pytest.mark.parametrize(("name", "title"), LICENSES.items())
def test_the_licence_of_choice(name, title):
    files = plugin_files("my-nets", ["hooks"], name)
    assert title in files["LICENSE"][:120]
    assert ("The authors of my-nets" in files["LICENSE"]) == (name != "Apache-2.0")
    assert f"Licence: [{name}](LICENSE)." in files["README.md"]


@pytest.mark.parametrize(
    ("version", "requirement"),
    [
        ("0.1.0", "clscli>=0.1,<0.2"),
        ("0.12.3+local", "clscli>=0.12,<0.13"),
        ("2.5.1", "clscli>=2.5,<3"),
        ("0.2.0rc1", "clscli>=0.2.0rc1,<0.3"),  # "0.2" would be later than what is installed
    ],
)
def test_the_requirement_ends_before_the_next_breaking_version(version, requirement):
    assert core_requirement(version) == requirement


def test_every_kind_has_an_example_that_shadows_nothing():
    assert list(EXAMPLES) == list(KINDS)
    taken = {(c.kind, c.name) for c in find_components() if c.is_core}
    assert not taken & {(kind, example.name) for kind, example in EXAMPLES.items()}


def test_the_readmes_spec_trains_with_a_component_of_every_kind(everything):
    text = (everything / "README.md").read_text().partition("```toml\n")[2].partition("```")[0]
    Path("try.toml").write_text(text)
    small = ["train.epochs=2", "train.precision=float32", "data.num_workers=0", "data.batch_size=16"]
    small += ["data.train.num_samples=48", "data.val.num_samples=24", "model.backbone.width=4"]
    small += ["transforms.train.0.p=1.0", "transforms.batch.0.p=1.0", "hooks.0.top1=0.01"]
    result = train("try.toml", sets=small, out=Path("run"), device="cpu")
    spec = tomllib.loads(Path("run/spec.toml").read_text())
    model, data, transforms = spec["model"], spec["data"], spec["transforms"]
    used = [model["backbone"], model["neck"], model["head"], model["loss"], *transforms["train"]]
    used += [*transforms["batch"], data["train"], data["sampler"], spec["optimizer"], spec["scheduler"]]
    used = [table["type"] for table in [*used, *spec["hooks"]]]
    assert used == [f"some-parts:{example.name}" for example in EXAMPLES.values()]
    assert "top1 has reached 0.01" in Path("run/train.log").read_text()
    assert result.last["epoch"] == 1


def test_what_the_examples_compute(everything):
    import torch
    from some_parts.generalized_cross_entropy import GeneralizedCrossEntropy
    from some_parts.inverse_sqrt import InverseSqrt
    from some_parts.log_sum_exp_pooling import LogSumExpPooling
    from some_parts.pixelate import Pixelate
    from some_parts.undersampled import Undersampled

    logits, target = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    almost = GeneralizedCrossEntropy(q=1e-4)(logits, target)
    torch.testing.assert_close(
        almost.double(), torch.nn.functional.cross_entropy(logits, target), atol=1e-3, rtol=0
    )
    probability = logits.softmax(1)[torch.arange(4), target]
    error = GeneralizedCrossEntropy(q=1.0)(logits, target)
    torch.testing.assert_close(error.double(), (1 - probability).mean(), atol=1e-6, rtol=0)

    maps = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 1, 2, 2)
    assert LogSumExpPooling(1, sharpness=1e-3)(maps).item() == pytest.approx(1.5, abs=1e-2)
    assert LogSumExpPooling(1, sharpness=100.0)(maps).item() == pytest.approx(3.0, abs=2e-2)

    rates = [InverseSqrt(10, warmup_epochs=1.0)(step) for step in (0, 9, 39)]
    assert rates == [0.1, 1.0, 0.5]

    image = torch.arange(15, dtype=torch.uint8).reshape(1, 3, 5)
    assert Pixelate(size=2, p=1.0)(image).tolist() == [
        [[0, 0, 2, 2, 4], [0, 0, 2, 2, 4], [10, 10, 12, 12, 14]],
    ]

    targets = torch.tensor([0] * 9 + [2] * 2)
    sampler = Undersampled(targets, 3, ratio=1.5)
    drawn = sampler(torch.Generator().manual_seed(0))
    assert len(drawn) == len(sampler) == 5
    assert targets[drawn].bincount().tolist() == [3, 0, 2]


def test_the_example_package_has_the_shape_of_a_new_one():
    example = ROOT / "plugins_example/fastnets"
    kinds = ["backbones", "losses", "transforms", "hooks"]
    ours = ("tinyconv", "poly1", "invert", "weight_norm")
    files = plugin_files("fastnets", kinds, "Apache-2.0")
    for path, text in files.items():
        for kind, name in zip(kinds, ours, strict=True):
            given = EXAMPLES[kind]
            path = path.replace(given.name, name)
            text = text.replace(given.name, name).replace(given.callable, _class_of(name))
        found = (example / path).read_text(encoding="utf-8")
        if not path.endswith(tuple(f"{name}.py" for name in ours)):
            assert found == text.replace('version = "0.1.0"', 'version = "0.3.1"'), path


def _class_of(name):
    return {"tinyconv": "TinyConv", "poly1": "Poly1", "invert": "Invert", "weight_norm": "WeightNorm"}[name]


def test_the_templates_are_in_the_wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    folder = ROOT / "clscli/templates"
    wanted = {p.relative_to(ROOT).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert len(wanted) == len(EXAMPLES) + 9
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
