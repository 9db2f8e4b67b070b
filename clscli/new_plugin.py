"""A package of components to begin with: complete, installable, and tested before a line of it is changed.

What it consists of are files in `templates/plugin`: those that end in `.tmpl`, and the licences, are filled in by
`string.Template`; a component is copied as it is.
"""

from __future__ import annotations

import datetime
import importlib.util
import keyword
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import importlib_metadata
from packaging.version import Version

from clscli import __version__
from clscli.errors import UsageError, WriteError
from clscli.plugins import CORE, KINDS, near_names

License = Literal["MIT", "Apache-2.0", "BSD-3-Clause"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")  # as PEP 503 normalizes it, and importable with underscores


class Example(NamedTuple):
    """A component of the templates: its name, which is its file's too, what it is there, and its use in a spec."""

    name: str
    callable: str
    use: str


EXAMPLES: dict[str, Example] = {
    "backbones": Example("separable_net", "SeparableNet", "model.backbone = {}"),
    "necks": Example("log_sum_exp_pooling", "LogSumExpPooling", "model.neck = {}"),
    "heads": Example("cosine_head", "CosineHead", "model.head = {}"),
    "losses": Example("generalized_cross_entropy", "GeneralizedCrossEntropy", "model.loss = {}"),
    "transforms": Example("pixelate", "Pixelate", "transforms.train = [{}]"),
    "batch_transforms": Example("vertical_concat", "VerticalConcat", "transforms.batch = [{}]"),
    "datasets": Example("drawn_shapes", "DrawnShapes", "data.train = {}\ndata.val = {}"),
    "samplers": Example("undersampled", "Undersampled", "data.sampler = {}"),
    "optimizers": Example("signum", "Signum", "optimizer = {}"),
    "schedulers": Example("inverse_sqrt", "InverseSqrt", "scheduler = {}"),
    "hooks": Example("stop_at", "StopAt", "hooks = [{}]"),
}

# Where each file of the package comes from; the components' are besides.
_FILES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    ".gitignore": "gitignore.tmpl",
    ".github/workflows/test.yml": "workflow.yml.tmpl",
    "tests/test_components.py": "test_components.py.tmpl",
    "$module/__init__.py": "init.py.tmpl",
    "LICENSE": "licenses/$license.txt",
}


def write_plugin(name: str, kinds: Sequence[str], *, license_name: License, out: Path) -> None:
    """Write a package with one small component of each kind into a folder that does not exist yet.

    The folder appears whole or not at all. Raises UsageError when the name is taken or cannot be a package's,
    or when the folder exists; WriteError when the disk does not take it.
    """
    module = _module_of(name)
    if out.exists():
        raise UsageError(f"{out}: exists already, and nothing is overwritten -- give another folder with --out")
    _refuse_taken(name, module)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
            whole = Path(scratch, out.name)
            for path, text in plugin_files(name, kinds, license_name).items():
                (whole / path).parent.mkdir(parents=True, exist_ok=True)
                (whole / path).write_text(text, encoding="utf-8", newline="\n")
            whole.rename(out)
    except OSError as error:
        raise WriteError(f"{out}: cannot be written: {error.strerror}") from error


def plugin_files(name: str, kinds: Sequence[str], license_name: License) -> dict[str, str]:
    """Return the text of every file of a new package, by its path in it."""
    module = _module_of(name)
    examples = {kind: EXAMPLES[kind] for kind in kinds}
    tables = {kind: f'{{ type = "{example.name}" }}' for kind, example in examples.items()}
    words = {
        "name": name,
        "module": module,
        "license": license_name,
        "year": datetime.date.today().year,
        "requirement": core_requirement(__version__),
        "kinds": ", ".join(KINDS[kind].singular for kind in kinds),
        "components": "\n".join(f"- {KINDS[kind].singular} `{e.name}`" for kind, e in examples.items()),
        "entry_points": "\n\n".join(
            f'[project.entry-points."{CORE}.{kind}"]\n{e.name} = "{module}.{e.name}:{e.callable}"'
            for kind, e in examples.items()
        ),
        "cases": "\n".join(f'        ("{kind}", "{name}:{e.name}"),' for kind, e in examples.items()),
        "uses": "\n".join(e.use.replace("{}", tables[kind]) for kind, e in examples.items()),
        "first": f"{kinds[0]} {name}:{examples[kinds[0]].name}",
    }

    def fill(text: str) -> str:
        return Template(text).substitute(words)

    files = {fill(path): fill(_read(fill(source))) for path, source in _FILES.items()}
    return files | {f"{module}/{e.name}.py": _read(f"components/{e.name}.py") for e in examples.values()}


def _read(template: str) -> str:
    return resources.files(CORE).joinpath("templates", "plugin", template).read_text(encoding="utf-8")


def core_requirement(version: str) -> str:
    """Return the requirement of a package that is written for a version of clscli: up to the next breaking one."""
    this = Version(version)
    least = this.public if this.is_prerelease else f"{this.major}.{this.minor}"
    next_breaking = f"{this.major + 1}" if this.major else f"0.{this.minor + 1}"
    return f"{CORE}>={least},<{next_breaking}"


def read_kinds(words: Iterable[str]) -> list[str]:
    """Find the kinds that a user means by `hook`, `hooks` or `batch-transform`; each once, in KINDS' order.

    Raises UsageError for one that there is not.
    """
    singulars = {kind.singular: key for key, kind in KINDS.items()}
    known = singulars | {key.replace("_", " "): key for key in KINDS}
    wanted = set()
    for word in words:
        plain = re.sub("[-_]", " ", word.lower())
        if plain not in known:
            near = near_names(plain, singulars)
            hint = f"did you mean {near}?" if near else f"there are: {', '.join(singulars)}"
            raise UsageError(f"no kind '{word}' -- {hint}")
        wanted.add(known[plain])
    return [kind for kind in KINDS if kind in wanted]


def _module_of(name: str) -> str:
    """Return the name under which a package is imported; UsageError for one that no package can have."""
    if not _NAME.fullmatch(name):
        better = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
        hint = f" -- try '{better}'" if _NAME.fullmatch(better) else ""
        raise UsageError(
            f"'{name}' cannot be the name of a package: it may have a-z, 0-9 and single hyphens, "
            f"and begins with a letter{hint}"
        )
    return name.replace("-", "_")


def _refuse_taken(name: str, module: str) -> None:
    """Raise UsageError where a package of this name could not be imported, or would hide another one."""
    if keyword.iskeyword(module):
        reason = "is a word of Python's"
    elif module in sys.stdlib_module_names:
        reason = "is a module of Python's own"
    elif module == "tests":
        reason = "is the folder of the package's tests"
    elif importlib.util.find_spec(module) is not None or _is_installed(name):
        reason = "is installed here already"
    else:
        return
    raise UsageError(f"'{name}' {reason} -- choose another name")


def _is_installed(name: str) -> bool:
    try:
        importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:
        return False
    return True
