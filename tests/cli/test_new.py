"""`clscli new plugin`: what it says, what it refuses, and that it writes all or nothing."""

from pathlib import Path

import pytest

from clscli.plugins import KINDS


def test_says_what_it_wrote_and_what_comes_next(clscli):
    done = clscli("new", "plugin", "my-nets", "--kind", "loss", "--kind", "backbones", "--kind", "loss")
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "wrote my-nets: backbone 'separable_net', loss 'generalized_cross_entropy'\n"
        'next: pip install -e "my-nets[test]"\n'
        "      pytest my-nets\n"
        "      clscli list backbones my-nets:separable_net\n"
    )
    assert "MIT License" in Path("my-nets/LICENSE").read_text()
    assert list(Path().iterdir()) == [Path("my-nets")]


def test_writes_where_it_is_told(clscli):
    done = clscli("new", "plugin", "nets", "--kind", "hook", "--out", "new folder/n", "--license", "Apache-2.0")
    assert done.code == 0
    assert done.err.splitlines()[1:3] == [
        'next: pip install -e "new folder/n[test]"',
        "      pytest 'new folder/n'",
    ]
    assert Path("new folder/n/nets/stop_at.py").is_file()


@pytest.mark.parametrize("word", ["batch transform", "batch-transform", "batch_transform", "Batch_Transforms"])
def test_a_kind_is_known_by_its_singular_and_its_plural(clscli, word):
    assert clscli("new", "plugin", "nets", "--kind", word).code == 0
    assert Path("nets/nets/vertical_concat.py").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "My_Nets",
            "'My_Nets' cannot be the name of a package: it may have a-z, 0-9 and single hyphens, "
            "and begins with a letter -- try 'my-nets'",
        ),
        (
            "3d",
            "'3d' cannot be the name of a package: it may have a-z, 0-9 and single hyphens, "
            "and begins with a letter",
        ),
        (
            "../nets",
            "'../nets' cannot be the name of a package: it may have a-z, 0-9 and single hyphens, "
            "and begins with a letter -- try 'nets'",
        ),
        ("lambda", "'lambda' is a word of Python's -- choose another name"),
        ("statistics", "'statistics' is a module of Python's own -- choose another name"),
        ("tests", "'tests' is the folder of the package's tests -- choose another name"),
        ("torch", "'torch' is installed here already -- choose another name"),
        ("pillow", "'pillow' is installed here already -- choose another name"),  # its module is PIL
        ("clscli", "'clscli' is installed here already -- choose another name"),
    ],
)
def test_a_name_that_cannot_be_or_is_taken_is_refused(clscli, name, message):
    assert clscli("new", "plugin", name, "--kind", "hook") == (2, "", f"{message}\n")
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("bakbone", "did you mean 'backbone'?"),
        ("metric", f"there are: {', '.join(kind.singular for kind in KINDS.values())}"),
    ],
)
def test_an_unknown_kind_is_refused(clscli, word, hint):
    done = clscli("new", "plugin", "nets", "--kind", "hook", "--kind", word)
    assert done == (2, "", f"no kind '{word}' -- {hint}\n")
    assert not list(Path().iterdir())


def test_nothing_is_overwritten(clscli):
    Path("nets").mkdir()
    Path("file").write_text("mine")
    for name, arguments in {"nets": [], "file": ["--out", "file"]}.items():
        done = clscli("new", "plugin", "nets", "--kind", "hook", *arguments)
        message = f"{name}: exists already, and nothing is overwritten -- give another folder with --out\n"
        assert done == (2, "", message)
    assert not list(Path("nets").iterdir())
    assert Path("file").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 1, "nets: cannot be written: No space left on device"),
    ],
)
def test_what_ends_in_the_middle_leaves_nothing(clscli, monkeypatch, error, code, message):
    write = Path.write_text

    def fail(path, *arguments, **options):
        if path.name == "LICENSE":
            raise error
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    done = clscli("new", "plugin", "nets", "--kind", "hook")
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert not list(Path().iterdir())


def test_a_folder_below_a_file_cannot_be_written(clscli):
    Path("file").write_text("mine")
    done = clscli("new", "plugin", "nets", "--kind", "hook", "--out", "file/nets")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("file/nets: cannot be written: ")
