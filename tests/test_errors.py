from __future__ import annotations

import inspect
import re

from clscli import errors


def test_the_tree_at_the_top_of_the_file_is_the_truth():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.ClscliError)]
    drawn = dict(re.findall(r"^[ |]*(?:\+-- )?(\w+) +exit (\d+)", errors.__doc__, re.MULTILINE))
    assert drawn == {c.__name__: str(c.exit_code) for c in classes}


def test_a_spec_error_keeps_its_problems_one_a_line():
    error = errors.SpecError(("a: wrong", "b: wrong"))
    assert error.problems == ["a: wrong", "b: wrong"]
    assert str(error) == "a: wrong\nb: wrong"
