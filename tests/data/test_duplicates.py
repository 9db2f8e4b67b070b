"""Equal contents, found by their hashes alone."""

from clscli.data.duplicates import find_copies
from clscli.data.inspection import Survey


def survey_of(*digests: bytes, unreadable=()) -> Survey:
    """Make what `find_copies` looks at: 16 bytes for each picture."""
    found = Survey("train", range(len(digests)), unreadable=dict.fromkeys(unreadable, "broken"))
    found.digests += b"".join(digest.ljust(16, b"\0") for digest in digests)
    return found


def copies(*surveys: Survey) -> list[list[tuple[int, int]]]:
    return [[tuple(copy) for copy in group] for group in find_copies(surveys)]


def test_groups_are_in_the_order_of_their_first_picture():
    first, second = survey_of(b"a", b"b", b"c", b"b"), survey_of(b"c", b"d", b"a", b"a")
    assert copies(first, second) == [[(0, 0), (1, 2), (1, 3)], [(0, 1), (0, 3)], [(0, 2), (1, 0)]]


def test_half_a_hash_is_not_enough():
    same = b"8 bytes."
    assert copies(survey_of(same + b"x", same + b"y", same + b"z", same + b"y")) == [[(0, 1), (0, 3)]]


def test_unreadable_pictures_are_equal_to_nothing():
    assert copies(survey_of(b"", b"", b"", unreadable=(0, 1, 2))) == []


def test_nothing_has_no_copies():
    assert copies() == copies(survey_of()) == copies(survey_of(b"a")) == []
