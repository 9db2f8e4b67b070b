"""Every message about a spec, its exact text with file and line, as the command line prints it.

The last test finds the messages in the code: a new one needs a row in one of the tables here.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from clscli import __version__, families, faults, plugins, signature, unknown_names
from clscli.errors import SpecError
from clscli.presets import preset_names
from clscli.spec import advice, binding, builder_keys, check, draft, load_spec, overrides, read

MODULES: list[ModuleType] = [
    *(read, overrides, draft, check, binding, builder_keys, advice),
    *(signature, faults, plugins, families, unknown_names),
]
DATA = 'data.root = "p"\n'
TABLES = "seed, data, transforms, model, optimizer, scheduler, train, hooks, extends, unset"
SEE = "(see: clscli list {})"
INIT = "constant, kaiming, normal, trunc_normal, uniform, xavier"

# What spec.toml holds, and what is said of it.
SPECS = [
    # Reading
    ("seed = 1\nseed = = 2", "spec.toml: is not valid TOML: invalid value (at line 2, column 8)"),
    (f"seed = {'9' * 5000}", "spec.toml: holds a number too long or brackets too deep to read"),
    (f"seed = {'[' * 300}{']' * 300}", "spec.toml: cannot be checked: it is nested too deep"),
    ('\nextends = "dmeo"', "spec.toml:2: extends: no file or preset 'dmeo' -- did you mean the preset 'demo'?"),
    ('extends = "zzz"', "spec.toml:1: extends: no file or preset 'zzz' "
     f"-- presets are: {', '.join(preset_names())}"),
    ('\nextends = "base.toml"',
     'base.toml:3 (extended by spec.toml:2): train.epochs: must be an integer, got "many"'),
    ("extends = 3", "spec.toml:1: extends: must be a string or a list of strings, got 3"),
    ("\nunset = [3]", "spec.toml:2: unset: must be a string or a list of strings, got [3]"),
    ('extends = "spec.toml"', "spec.toml:1: extends: goes round in a circle: spec.toml -> spec.toml"),
    ('unset = ["model.nek"]', "spec.toml:1: unset: model.nek is not set -- did you mean 'neck'?"),
    ('unset = ["a b"]', "spec.toml:1: unset: 'a b' is not a dotted key such as model.backbone.type"),
    ('unset = ["transforms.train.0"]',
     "spec.toml:1: unset: elements of a list stay -- set transforms.train as a whole"),
    # Structure
    ("[train]\nepoch = 1", "spec.toml:2: train.epoch: unknown key 'epoch' -- did you mean 'epochs'?"),
    ("\nzzz = 1", f"spec.toml:2: zzz: unknown key 'zzz' -- there are: {TABLES}"),
    ("\n[data]", "spec.toml:2: data.root: is required -- write [data] root = \"photos\", or give --data photos"),
    ('[data]\nroot = "p"\ntrain.type = "folder"',
     "spec.toml:2: data.root: stands for train, val and test -- give either root or these"),
    ("[model]\nloss = []", "spec.toml:2: model.loss: must be at least one loss, got []"),
    ('[model]\nhead = "linear"',
     'spec.toml:2: model.head: must be a table, got "linear" -- write model.head = { type = "linear" }'),
    ('hooks = "csv"', 'spec.toml:1: hooks: must be a list, got "csv" -- write hooks = [{ type = "csv" }]'),
    ("[model.head]\ntype = 3", "spec.toml:2: model.head.type: must be a string, got 3"),
    ("[[hooks]]\nevery = 3", "spec.toml:1: hooks.0.type: is required"),
    # Values
    ("seed = '1'", 'spec.toml:1: seed: must be an integer, got "1"'),
    ("seed = 1.5", "spec.toml:1: seed: must be an integer, got 1.5"),
    ("seed = -1", "spec.toml:1: seed: must be at least 0, got -1"),
    ("[data]\ncheck_headers = 1", "spec.toml:2: data.check_headers: must be true or false, got 1"),
    ("[data]\nval_fraction = 0", "spec.toml:2: data.val_fraction: must be greater than 0.0, got 0"),
    ("[data]\nval_fraction = 1.5", "spec.toml:2: data.val_fraction: must be less than 1.0, got 1.5"),
    ("[data]\nbatch_size = 2000000",
     "spec.toml:2: data.batch_size: must be 'auto' or at most 1000000, got 2000000"),
    ("[data]\nbatch_size = []", "spec.toml:2: data.batch_size: must be 'auto' or an integer, got []"),
    ("[data]\nval_fraction = 'x'", 'spec.toml:2: data.val_fraction: must be a number, got "x"'),
    ("train = 3", "spec.toml:1: train: must be a table, got 3"),
    ("[train]\nstrategy = 'dpd'",
     "spec.toml:2: train.strategy: must be 'ddp' or 'fsdp', got \"dpd\" -- did you mean 'ddp'?"),
    ("[train]\nclip_grad_norm = inf",
     "spec.toml:2: train.clip_grad_norm: input should be a finite number, got inf"),
    ("[transforms.normalize]\nmean = []\nstd = [1]",
     "spec.toml:2: transforms.normalize.mean: must have at least 1 elements, got []"),
    # Parameters
    (f"{DATA}[model.head]\ndropuot = 0.1",
     "spec.toml:3: model.head.dropuot: head 'linear' has no parameter 'dropuot' -- did you mean 'dropout'?"),
    (f"{DATA}[model.head]\nzzz = 1", "spec.toml:3: model.head.zzz: head 'linear' has no parameter 'zzz' "
     "-- there are: dropout, init"),
    (f"{DATA}[model.head]\nnum_classes = 3",
     "spec.toml:3: model.head.num_classes: is set by clscli from the data -- remove it"),
    (f"{DATA}[model.backbone]\npretrained = 1",
     "spec.toml:3: model.backbone.pretrained: must be true, false or a string, got 1"),
    (f"{DATA}[model.head]\ninit = 3", "spec.toml:3: model.head.init: must be a table or a list of tables such as "
     '{ type = "kaiming" }, got 3'),
    (f"{DATA}[model.head]\ninit = {{}}", f"spec.toml:3: model.head.init.type: is required -- there are: {INIT}"),
    (f"{DATA}[model.head.init]\ntype = 3", "spec.toml:3: model.head.init.type: must be a string, got 3"),
    (f"{DATA}[model.head.init]\ntype = 'kaimming'",
     "spec.toml:3: model.head.init.type: unknown initialisation 'kaimming' -- did you mean 'kaiming'?"),
    (f"{DATA}[model.head.init]\ntype = 'zzz'",
     f"spec.toml:3: model.head.init.type: unknown initialisation 'zzz' -- there are: {INIT}"),
    (f"{DATA}[model.head.init]\ntype = 'kaiming'\nmod = 1",
     "spec.toml:4: model.head.init.mod: initialisation 'kaiming' has no parameter 'mod' -- did you mean 'mode'?"),
    (f"{DATA}[optimizer]\ngroups = 3", "spec.toml:3: optimizer.groups: must be a table such as "
     "{ head_lr = 10.0, layer_decay = 0.75 }, got 3"),
    (f"{DATA}[optimizer.groups]\nhaed_lr = 3",
     "spec.toml:3: optimizer.groups.haed_lr: unknown key 'haed_lr' -- did you mean 'head_lr'?"),
    (f"{DATA}[optimizer]\nbetas = [0.9, 0.9, 0.9]",
     "spec.toml:3: optimizer.betas: must have at most 2 elements, got [0.9, 0.9, 0.9]"),
    # Names
    ("[model.neck]\ntype = 'linear_nek'", "spec.toml:2: model.neck.type: unknown neck 'linear_nek' "
     f"-- did you mean 'linear_neck'? {SEE.format('necks')}"),
    ("[optimizer]\ntype = 'lbfgs'", "spec.toml:2: optimizer.type: there is no optimizer 'lbfgs': it computes the "
     "loss several times a step, and always of all pictures -- take adamw or sgd"),
    ("[optimizer]\ntype = 'cutmix'", "spec.toml:2: optimizer.type: unknown optimizer 'cutmix' -- it is among the "
     "batch_transforms (see: clscli list batch_transforms)"),
    ("[model.neck]\ntype = ':linear'", "spec.toml:2: model.neck.type: unknown neck ':linear': with a colon, "
     f"a name is package:name {SEE.format('necks')}"),
    ("[model.neck]\ntype = 'clscli:linear_nek'", "spec.toml:2: model.neck.type: package 'clscli' has no neck "
     f"'linear_nek' -- did you mean 'linear_neck'? {SEE.format('necks')}"),
    ("[model.neck]\ntype = 'clscli.linear_neck'", "spec.toml:2: model.neck.type: unknown neck "
     f"'clscli.linear_neck' -- did you mean 'clscli:linear_neck'? {SEE.format('necks')}"),
    ("[model.neck]\ntype = 'nosuch:gem'", "spec.toml:2: model.neck.type: neck 'nosuch:gem' needs the package "
     "'nosuch', which is not installed -- pip install nosuch"),
    ("[model.neck]\ntype = 'clsci:linear_neck'", "spec.toml:2: model.neck.type: neck 'clsci:linear_neck' needs "
     "the package 'clsci', which is not installed -- did you mean 'clscli:linear_neck'? Else: pip install clsci"),
]  # fmt: skip

# Options after `clscli train`, and what is said of them.
OPTIONS = [
    (["dmeo"], "dmeo: neither a spec file nor a preset -- did you mean 'demo'?"),
    (["zzz"], f"zzz: neither a spec file nor a preset -- presets are: {', '.join(preset_names())}"),
    (["gone.toml"], "gone.toml: no such spec file"),
    (["folder"], "folder: is a folder, not a spec -- for a folder of pictures: clscli train --data folder"),
    (["latin.toml"], "latin.toml: is not UTF-8 text (byte 8) -- TOML files are UTF-8"),
    (["demo", "--set", "seed"], "--set seed: must have the form key=value, such as optimizer.lr=0.01"),
    (["demo", "--set", "a b=1"],
     "--set a b=1: 'a b' is not a dotted key such as model.backbone.type"),
    (["demo", "--set", "seed=None"], "--set seed=None: cannot read the value 'None' "
     "-- TOML has no None: use --unset to return to the default"),
    (["demo", "--set", "seed="], "--set seed=: cannot read the value '' "
     '-- write "" for an empty string, or use --unset'),
    (["demo", "--set", "seed=[a]"], "--set seed=[a]: cannot read the value '[a]' "
     '-- quote the strings inside, as in ["avg", "max"], and quote the whole for the shell'),
    (["demo", "--set", "seed=.5"], "--set seed=.5: cannot read the value '.5' -- TOML writes 0.5, not .5"),
    (["demo", "--set", "seed=5."], "--set seed=5.: cannot read the value '5.' -- TOML writes 5.0, not 5."),
    (["demo", "--set", "seed=007"], "--set seed=007: cannot read the value '007' "
     "-- TOML writes 7, without leading zeros; quote it if it is a string"),
    (["demo", "--set", "seed=1,2"], "--set seed=1,2: cannot read the value '1,2' "
     "-- write a list as [1, 2]; put a string with such characters in quotes of its own"),
    (["demo", "--set", "extends=demo"], "--set extends=demo: extends can only be written in a file"),
    (["demo", "--set", "train.0=1"], "--set train.0=1: train.0: there is no list to take an element of"),
    (["demo", "--set", "transforms.train.9.p=1"],
     "--set transforms.train.9.p=1: transforms.train has 1 elements, no '9'"),
    (["demo", "--set", "transforms.train.0.type.x=1"],
     "--set transforms.train.0.type.x=1: transforms.train.0.type is not a table"),
    (["demo", "--set", "transforms.train.0.type.1=1"],
     "--set transforms.train.0.type.1=1: transforms.train.0.type is not a list"),
    (["demo", "--unset", "seeed"], "--unset seeed: seeed is not set -- did you mean 'seed'?"),
    (["demo", "--set", "seed=-1"], "--set seed=-1: seed: must be at least 0, got -1"),
]  # fmt: skip

# A dict in the place of a file.
TABLES_OF_PROGRAMS = [
    ({"seed": object()}, "spec: holds what no TOML file can: unable to serialize unknown type: <class 'object'>"),
    ({"seed": -1}, "spec: seed: must be at least 0, got -1"),
]
UNREADABLE = "spec.toml: cannot be read: Permission denied"

# The source of a head or a transform `mine` of a package `extra 1.0`, and what is said of it.
CANNOT = "extra 1.0 (head 'mine') cannot be used in a spec: "
COMPONENTS = [
    ("def mine(x): ...", CANNOT + "parameter 'x' has no type annotation"),
    ("def mine(*x: int): ...", CANNOT + "it takes '*x', but each parameter must have a name of its own"),
    ("def mine(x: int, /): ...", CANNOT + "parameter 'x' is positional-only, but specs give parameters by name"),
    ("def mine(*, type: str = 'a'): ...",
     CANNOT + "it has a parameter 'type', but in a spec that is the component's name"),
    ("def mine(x: 'Gone'): ...",
     CANNOT + "the type 'Gone' of parameter 'x' cannot be resolved: name 'Gone' is not defined"),
    ("def mine(x: bytes): ...", CANNOT + "parameter 'x' has the type bytes, which TOML cannot write "
     '-- take a name instead, such as Literal["relu", "gelu"]'),
    ("def mine(x: int = 'a'): ...",
     CANNOT + "the default of parameter 'x' does not fit: must be an integer, got \"a\""),
    ("def mine(x: int = object()): ...", CANNOT + "it has a default that TOML cannot write: "
     "Unable to serialize unknown type: <class 'object'>"),
    ("from clscli.data.samples import Dataset\ndef mine(x: Dataset): ...",
     CANNOT + "parameter 'x' asks for datasets, which need 'split', and that is not known here"),
    ("from clscli.data.transforms.contract import Transform\ndef mine(split, *, x: dict[str, Transform]): ...",
     "extra 1.0 (transform 'mine') cannot be used in a spec: parameter 'x' asks for transforms as "
     "dict[str, transform] -- take one of them, or a list"),
    ("class Odd:\n  __signature__ = 3\n  def __call__(self): ...\nmine = Odd()",
     CANNOT + "its signature cannot be read: unexpected object 3 in __signature__ attribute"),
    ("mine = 3", "extra 1.0 (head 'mine') is not callable: plugin_messages:mine is of type int"),
    ("raise OSError('no\\n way')", "extra 1.0 (head 'mine') cannot be imported: OSError: no way "
     "-- reinstall extra, or see what works with: clscli list --check"),
]  # fmt: skip

# The backbone that a spec names, where other packages offer some; and what is said of it.
SEE_BACKBONES = SEE.format("backbones")
BACKBONES = [
    ("twin", 2, "backbone 'twin' is offered by 2 packages -- write 'one:twin' or 'two:twin'"),
    ("only", 1, "one 1.0 (backbone 'only') cannot be imported: ModuleNotFoundError: No module named 'gone' "
     "-- reinstall one, or see what works with: clscli list --check"),
    ("one", 2, "unknown backbone 'one' -- this is a package (see: clscli list backbones 'one:*')"),
    ("one.only", 2, f"unknown backbone 'one.only' -- did you mean 'one:only'? {SEE_BACKBONES}"),
    ("clscli:only", 2, f"package 'clscli' has no backbone 'only' -- did you mean 'one:only'? {SEE_BACKBONES}"),
    ("pytest:only", 2, f"unknown backbone 'pytest:only': the package 'pytest' {pytest.__version__} "
     "offers no backbones"),
    ("late", 1, f"later 1.0 needs clscli>=99, but {__version__} is installed "
     "-- pip install --upgrade later clscli"),
    ("odd", 1, "unclear 1.0 has an unreadable requirement 'clscli>>1' -- pip install --upgrade unclear clscli"),
    ("secret", 2, "unknown backbone 'secret' -- the package 'hidden' offers it, but is not among CLSCLI_PLUGINS"),
    ("hidden:secret", 2, "unknown backbone 'hidden:secret': the package 'hidden' 1.0 is not among CLSCLI_PLUGINS"),
    ("mayn/x", 2, "unknown backbone 'mayn/x': no installed package offers backbones of the name mayn/* "
     f"-- did you mean 'many/*'? {SEE_BACKBONES}"),
    ("zzz/x", 2, "unknown backbone 'zzz/x': no installed package offers backbones of the name zzz/* "
     f"{SEE_BACKBONES}"),
    ("many/*", 2, "backbone 'many/*' stands for many names -- write one of them "
     "(see: clscli list backbones 'many/*')"),
    ("many/thin", 2, "package 'families' has no backbone 'many/thin' -- did you mean 'many/thing'? "
     "(see: clscli list backbones 'many/*')"),
    ("many/thing", 1, "families 1.0 (backbone 'many/thing') is not callable: "
     "its family made something of type int"),
    ("many/crack", 1, "families 1.0 (backbone 'many/crack') cannot be made by its family: KeyError: 'crack'"),
    ("mute/x", 1, "families 1.0 (backbone 'mute/*') breaks its contract: a family has a function names()"),
    ("torn/x", 1, "families 1.0 (backbone 'torn/*') cannot tell its names: OSError: gone"),
    ("loud/x", 1, "families 1.0 (backbone 'loud/*') breaks its contract: it offers 'Loud', but its names have "
     "only a-z, 0-9, _, . and -, and begin with a letter or digit"),
    ("odd_friends", 1, "companies 1.0 (backbone 'odd_friends') breaks its contract: its companions cannot be "
     "used: unknown head 'linaer' -- did you mean 'linear'? (see: clscli list heads)"),
    ("choosy", 2, "model.backbone: backbone 'companies:choosy': it is too late"),
    ("rude", 1, "companies 1.0 (backbone 'rude') failed when it was built: RuntimeError: no way"),
]  # fmt: skip
FAMILIES = """
def many(name): return {"thing": 3}[name]
many.names = lambda: ["thing", "crack"]
def mute(name): ...
def torn(name): ...
def gone(): raise OSError("gone")
torn.names = gone
def loud(name): ...
loud.names = lambda: ["Loud"]
"""
COMPANIES = """
def odd_friends(in_channels: int): ...
odd_friends.companions = lambda parameters: {"head": {"type": "linaer"}}
def choosy(in_channels: int): raise ValueError("it is too late")
def rude(in_channels: int): raise RuntimeError("no\\n way")
"""


@pytest.fixture
def crowd(packages, monkeypatch):
    """Install packages of every sort."""
    packages.install("one", {"backbones": {"twin": "gone:X", "only": "gone:X"}})
    packages.install("two", {"backbones": {"twin": "gone:X"}})
    packages.install("hidden", {"backbones": {"secret": "gone:X"}})
    packages.install("later", {"backbones": {"late": "gone:X"}}, requires=["clscli>=99"])
    packages.install("unclear", {"backbones": {"odd": "gone:X"}}, requires=["clscli>>1"])
    names = {f"{name}/*": f"families_messages:{name}" for name in ("many", "mute", "torn", "loud")}
    packages.install("families", {"backbones": names}, modules={"families_messages": FAMILIES})
    names = {name: f"companies_messages:{name}" for name in ("odd_friends", "choosy", "rude")}
    packages.install("companies", {"backbones": names}, modules={"companies_messages": COMPANIES})
    monkeypatch.setenv("CLSCLI_PLUGINS", "one,two,later,unclear,families,companies")


def said(clscli, *arguments):
    code, out, err = clscli("train", *arguments, "--dry-run")
    assert out == ""
    return code, err


@pytest.mark.parametrize(("text", "message"), SPECS, ids=[message[:60] for _, message in SPECS])
def test_what_is_said_of_a_spec(clscli, text, message):
    Path("base.toml").write_text('\n[train]\nepochs = "many"\n', encoding="utf-8")
    Path("spec.toml").write_text(f"{text}\n", encoding="utf-8")
    assert said(clscli, "spec.toml") == (2, f"{message}\n")


@pytest.mark.parametrize(("arguments", "message"), OPTIONS, ids=[message[:60] for _, message in OPTIONS])
def test_what_is_said_of_options(clscli, arguments, message):
    Path("folder").mkdir()
    Path("latin.toml").write_bytes(b'name = "\xe9"')
    assert said(clscli, *arguments) == (2, f"{message}\n")


@pytest.mark.parametrize(("table", "message"), TABLES_OF_PROGRAMS)
def test_what_is_said_of_a_dict(table, message):
    with pytest.raises(SpecError) as caught:
        load_spec(table)
    assert str(caught.value) == message


def test_what_is_said_of_a_file_that_may_not_be_read(monkeypatch):
    whole = Path.read_text

    def refuse(path, *args, **kwargs):
        if path.name == "spec.toml":
            raise PermissionError(13, "Permission denied")
        return whole(path, *args, **kwargs)

    Path("spec.toml").write_text("", encoding="utf-8")
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SpecError) as caught:
        load_spec("spec.toml")
    assert str(caught.value) == UNREADABLE


@pytest.mark.parametrize(("source", "message"), COMPONENTS, ids=[message[:60] for _, message in COMPONENTS])
def test_what_is_said_of_a_plugin(clscli, packages, source, message):
    entries = {kind: {"mine": "plugin_messages:mine"} for kind in ("heads", "transforms")}
    packages.install("extra", entries, modules={"plugin_messages": source})
    slot = 'transforms.eval = [{ type = "mine" }]' if "(transform" in message else 'model.head.type = "mine"'
    Path("spec.toml").write_text(f"{DATA}{slot}\n", encoding="utf-8")
    assert said(clscli, "spec.toml") == (1, f"{message}\n")


@pytest.mark.parametrize(("name", "code", "message"), BACKBONES, ids=[name for name, _, _ in BACKBONES])
def test_what_is_said_of_a_name(clscli, crowd, pictures, name, code, message):
    text = f'data.root = "{pictures.as_posix()}"\n[model.backbone]\ntype = "{name}"\n'
    Path("spec.toml").write_text(text, encoding="utf-8")
    if code == 2:
        where = "spec.toml:2: " if message.startswith("model.") else "spec.toml:3: model.backbone.type: "
        message = where + message
    assert said(clscli, "spec.toml") == (code, f"{message}\n")


# That none is forgotten

# They end in words of pydantic's.
IN_TEST_SIGNATURE = [
    "nothing can be checked by the type of parameter 'x': a bad pattern",
    "its parameters cannot be checked: TypeError: no order",
]


def patterns(module: ModuleType) -> list[str]:
    """Find the messages of a module, as regular expressions: the texts that it raises, or returns as words."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        is_fault = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Fault"
        if isinstance(node, ast.Raise | ast.Return) or is_fault:
            texts = (t for t in ast.walk(node) if isinstance(t, ast.JoinedStr | ast.Constant))
            found += [pattern for text in texts if " " in (pattern := as_pattern(text)).strip()]
    return found


def as_pattern(text: ast.expr) -> str:
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    values = [part.value if isinstance(part, ast.Constant) else None for part in parts]
    return "".join(re.escape(value) if isinstance(value, str) else ".*" for value in values).replace(r"\ ", " ")


@pytest.mark.parametrize("module", MODULES, ids=[module.__name__ for module in MODULES])
def test_every_message_is_in_a_table(module):
    tables = (SPECS, OPTIONS, TABLES_OF_PROGRAMS, COMPONENTS, BACKBONES)
    messages = [UNREADABLE, *IN_TEST_SIGNATURE, *(row[-1] for table in tables for row in table)]
    missing = [p for p in patterns(module) if not any(re.search(p, m, re.DOTALL) for m in messages)]
    assert missing == []
