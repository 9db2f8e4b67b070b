from __future__ import annotations

import math
import tomllib
from datetime import date

import pytest

from clscli.toml import dotted, format_key, format_value, paths, read


def lines(text):
    """Give the line of every path, written with dots."""
    return {dotted(path): line for path, line in read(text)[1].items()}


def test_lines_of_plain_statements():
    text = '# a comment\n\nseed = 1  # why\n[data]\n# another\nroot = "p"\n\n  batch_size = 3\n'
    assert lines(text) == {"seed": 3, "data": 4, "data.root": 6, "data.batch_size": 8}


def test_lines_of_headers_count_for_the_tables_around():
    assert lines("[a.b]\nx = 1\n[a]\ny = 2\n[a.b.c]\n") == {"a": 1, "a.b": 1, "a.b.x": 2, "a.y": 4, "a.b.c": 5}


def test_lines_of_arrays_of_tables():
    text = "[[a]]\nx = 1\n[[a]]\nx = 2\n[[a.b]]\ny = 3\n[[a.b]]\n[a.b.c]\nz = 4\n"
    text += "[a.d]\nw = 5\n[[a]]\n[[a.b]]\ny = 6\n"
    assert lines(text) == {
        "a": 1,
        "a.0": 1,
        "a.0.x": 2,
        "a.1": 3,
        "a.1.x": 4,
        "a.1.b": 5,
        "a.1.b.0": 5,
        "a.1.b.0.y": 6,
        "a.1.b.1": 7,
        "a.1.b.1.c": 8,
        "a.1.b.1.c.z": 9,
        "a.1.d": 10,
        "a.1.d.w": 11,
        "a.2": 12,
        "a.2.b": 13,
        "a.2.b.0": 13,
        "a.2.b.0.y": 14,
    }


def test_lines_of_dotted_and_quoted_keys():
    text = 'a.b.c = 1\na."d.e" = 2\n"f = [g]" = 3\n["h.i".j]\n\'k#\' = 4\n'
    assert read(text)[1] == {
        ("a",): 1,
        ("a", "b"): 1,
        ("a", "b", "c"): 1,
        ("a", "d.e"): 2,
        ("f = [g]",): 3,
        ("h.i",): 4,
        ("h.i", "j"): 4,
        ("h.i", "j", "k#"): 5,
    }


def test_lines_inside_inline_tables_and_arrays_of_one_line():
    assert lines("a = { b = [1, { c = 2 }] }\n") == dict.fromkeys(["a", "a.b", "a.b.0", "a.b.1", "a.b.1.c"], 1)


def test_each_element_of_an_array_of_several_lines_has_its_line():
    text = (
        "first = 1\n"
        "train = [  # first ]\n"
        '    { type = "a", size = 1 }, { type = "b" },\n'
        "\n"
        "    # a comment, and ] one more\n"
        '    { type = "c" },\n'
        "    [\n"
        "        7,\n"
        "    ],\n"
        "    'd]',\n"
        "]\n"
        "last = 2\n"
    )
    assert lines(text) == {
        "first": 1,
        "train": 2,
        "train.0": 3,
        "train.0.type": 3,
        "train.0.size": 3,
        "train.1": 3,
        "train.1.type": 3,
        "train.2": 6,
        "train.2.type": 6,
        "train.3": 7,
        "train.3.0": 8,
        "train.4": 10,
        "last": 12,
    }


def test_tables_within_tables_have_their_own_lines():
    text = (
        'train = { type = "concat", datasets = [\n'
        "    { root = 'a]' },  # } no end\n"
        "    { datasets = [\n"
        '        { root = "b\\"]" },\n'
        "    ], root = 3 },\n"
        "], last = 1 }\n"
    )
    assert lines(text) == {
        "train": 1,
        "train.type": 1,
        "train.datasets": 1,
        "train.datasets.0": 2,
        "train.datasets.0.root": 2,
        "train.datasets.1": 3,
        "train.datasets.1.datasets": 3,
        "train.datasets.1.datasets.0": 4,
        "train.datasets.1.datasets.0.root": 4,
        "train.datasets.1.root": 5,
        "train.last": 6,
    }


def test_an_array_that_begins_on_the_line_of_its_key():
    assert lines("a.b = [1,\n2,\n3]\n") == {"a": 1, "a.b": 1, "a.b.0": 1, "a.b.1": 2, "a.b.2": 3}


def test_strings_of_several_lines_hold_no_keys():
    text = "a = \"\"\"\n[header]\nb = 1\n# no comment\n[[c]]\n\"\"\"\nd = '''\n]\ne = 2'''\nf = 3\n"
    assert lines(text) == {"a": 1, "d": 7, "f": 10}


def test_what_looks_open_in_strings_and_comments_is_not():
    text = 'a = """[x""""\nb = [ # ]\n  "[", """\n]""",\n]\nc = 1\n'
    assert read(text)[0] == {"a": '[x"', "b": ["[", "]"], "c": 1}
    assert lines(text) == {"a": 1, "b": 2, "b.0": 3, "b.1": 3, "c": 6}


def test_a_list_of_very_many_lines_is_read_at_once_and_has_the_line_on_which_it_begins():
    text = "x = [\n" + "1,\n" * 20_000 + "]\ny = 2\n"  # line by line, this took minutes
    found = lines(text)
    assert (found["x.0"], found["x.19999"], found["y"]) == (1, 1, 20_003)


def test_windows_line_ends():
    assert lines("a = 1\r\n[b]\r\nc = [\r\n1,\r\n]\r\nd = '''\r\nx\r\n'''\r\ne = 2\r\n") == {
        "a": 1,
        "b": 2,
        "b.c": 3,
        "b.c.0": 4,
        "b.d": 6,
        "b.e": 9,
    }


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85"])
def test_line_ends_that_toml_does_not_know_are_text(end):
    assert lines(f'a = "x{end}y"\nb = 1\n') == {"a": 1, "b": 2}


def test_an_empty_document_and_a_missing_last_line_end():
    assert read("") == ({}, {})
    assert lines("a = 1\nb = [\n2]") == {"a": 1, "b": 2, "b.0": 3}


def test_wrong_toml_raises_with_its_place():
    with pytest.raises(tomllib.TOMLDecodeError, match=r"at line 2, column 5"):
        read("a = 1\nb = \n")


def test_paths_list_outer_ones_first():
    assert [dotted(p) for p in paths({"a": [1, {"b": {}}], "c": 2})] == ["a", "a.0", "a.1", "a.1.b", "c"]


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        0,
        -7,
        10**30,
        0.1,
        1.0,
        -0.0,
        1e-08,
        1e16,
        1e300,
        5e-324,
        math.inf,
        -math.inf,
        "",
        "plain",
        "Müller / 猫 / 😀",
        "quote \" and \\ backslash and ' apostrophe",
        "lines\nand\ttabs\r\n",
        "# no comment ] } =",
        "\x00\x01\x1f\x7f\x80\u2028",
        [],
        [1, [2, "x"], {"a": []}],
        {},
        {"a": {"b c": 1, "": 2, 'q"': 3, "ü": 4, "x.y": {"z": [1.5]}}},
        {"5": 1, "-": 2, "_": 3},
    ],
)
def test_a_written_value_reads_as_itself(value):
    text = f"value = {format_value(value)}"
    assert "\n" not in text
    read_back = tomllib.loads(text)["value"]
    assert read_back == value
    assert type(read_back) is type(value)
    assert str(read_back) == str(value)  # -0.0 is not 0.0


def test_nan_is_written_as_such():
    assert format_value(math.nan) == "nan"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, 2.0), "[1, 2.0]"),
        ({"a": 1, "b": [True]}, "{ a = 1, b = [true] }"),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_how_values_look(value, text):
    assert format_value(value) == text


@pytest.mark.parametrize(("key", "text"), [("a-b_9", "a-b_9"), ("a.b", '"a.b"'), ("", '""'), ("ä", '"ä"')])
def test_keys_are_quoted_where_needed(key, text):
    assert format_key(key) == text
    assert tomllib.loads(f"{text} = 1") == {key: 1}
