from __future__ import annotations

from clscli.reports.text import format_table


def test_columns_are_aligned_and_numbers_to_the_right():
    assert format_table(("NAME", "N", "NOTE"), [("a", "1", "x"), ("long name", "100", "")], right=(1,)) == (
        "NAME         N  NOTE\n"
        "a            1  x\n"
        "long name  100"
    )  # fmt: skip


def test_a_table_without_rows_is_its_header():
    assert format_table(("NAME", "NOTE"), []) == "NAME  NOTE"


def test_wide_and_combining_characters_keep_the_columns_straight():
    assert format_table(("A", "B"), [("猫", "1"), ("e\u0301", "2"), ("é", "3")]) == (
        "A   B\n猫  1\ne\u0301   2\né   3"
    )
