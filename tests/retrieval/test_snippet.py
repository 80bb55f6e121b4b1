"""Snippets of a text whose words say where they stand."""

import pytest

from ulmfit_ray.retrieval.snippet import snippet

TEXT = " ".join(f"w{number:03d}" for number in range(100))
"""Five characters for each word, the last space left out: 499."""


def test_a_text_that_is_short_enough_is_returned_whole_in_one_line() -> None:
    assert snippet("two\n  lines ", "x", 9) == "two lines"


def test_without_a_word_of_the_query_it_is_the_beginning() -> None:
    assert snippet(TEXT, "fat in mice", 22) == "w000 w001 w002 w003…"
    assert snippet(TEXT, "", 22) == "w000 w001 w002 w003…"


def test_it_lies_around_the_first_word_of_the_query_that_occurs() -> None:
    assert snippet(TEXT, "fat W050 w007", 24) == "…w048 w049 w050 w051 w052…"
    assert snippet(TEXT, "fat W050 w007", 22) == "…w049 w050 w051…"


def test_at_the_texts_end_nothing_is_left_out_behind_it() -> None:
    assert snippet(TEXT, "w099", 24) == "…w095 w096 w097 w098 w099"
    assert snippet(TEXT, "w099", 23) == "…w096 w097 w098 w099"


def test_a_part_of_a_word_is_not_the_word() -> None:
    assert snippet("a cartoon about nothing at all, then a car", "car", 12) == "…then a car"


@pytest.mark.parametrize("size", [1, 3, 7, 20, 100, 498])
@pytest.mark.parametrize("query", ["", "w000", "w033", "w098 w001", "w099"])
def test_no_more_characters_than_asked_for_are_shown_and_the_word_is_among_them(size: int, query: str) -> None:
    shown = snippet(TEXT, query, size).strip("…")
    assert 0 < len(shown) <= size
    assert shown in TEXT
    if size >= 7:
        assert query[:4] in shown


def test_a_text_without_spaces_is_cut_between_characters() -> None:
    assert snippet("\u6211\u7231\u5317\u4eac" * 10, "\u5317", 6) == "\u6211\u7231\u5317\u4eac\u6211\u7231…"


def test_signs_in_a_query_are_no_pattern() -> None:
    # As a pattern, "w09." would be found at w090.
    assert snippet(TEXT, "w09. ( [a-", 7) == "w000…"
