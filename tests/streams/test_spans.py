"""Spans that stand for queries."""

import numpy as np
import pytest

from ulmfit_ray.streams.spans import SpanOptions, draw_span_query, span_of

TITLE, TEXT = np.array([1, 2, 3]), np.arange(100, 160)


def test_a_span_is_as_long_as_was_asked_and_may_begin_anywhere() -> None:
    random = np.random.default_rng(0)
    found = {span_of(10, 7, random) for _ in range(200)}
    assert found == {(start, start + 7) for start in range(4)}


@pytest.mark.parametrize("length", [4, 5, 1000])
def test_of_a_short_text_a_span_is_the_whole(length: int) -> None:
    assert span_of(4, length, np.random.default_rng(0)) == (0, 4)


def test_a_span_that_is_taken_out_leaves_the_rest_in_its_order() -> None:
    options = SpanOptions(taken_out=1, with_query_field=0)
    for seed in range(50):
        query, front, rest = draw_span_query(TITLE, TEXT, options, np.random.default_rng(seed))
        assert options.min_tokens <= len(query) <= options.max_tokens
        assert len(front) == 0
        assert rest.tolist() == [token for token in TEXT.tolist() if token not in query]


def test_a_span_is_never_more_than_half_of_its_document() -> None:
    options = SpanOptions(taken_out=1, min_tokens=10, max_tokens=10)
    for num_tokens, num_left in ((21, 11), (20, 10), (9, 5), (3, 2), (2, 1), (1, 1)):
        query, _, rest = draw_span_query(TITLE, TEXT[:num_tokens], options, np.random.default_rng(0))
        assert len(rest) == num_left
        assert len(query) == max(1, num_tokens - num_left)


def test_the_query_field_stands_in_front_where_that_is_asked() -> None:
    for share, front in ((1, TITLE.tolist()), (0, [])):
        options = SpanOptions(taken_out=0, with_query_field=share)
        _, found, rest = draw_span_query(TITLE, TEXT, options, np.random.default_rng(0))
        assert found.tolist() == front
        assert rest is TEXT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.5}, r"spans\.share must lie between 0 and 1, not 1\.5"),
        ({"taken_out": -1}, r"spans\.taken_out must lie between 0 and 1"),
        ({"min_tokens": 0}, r"spans\.min_tokens must be at least 1"),
        ({"min_tokens": 9, "max_tokens": 8}, r"spans\.max_tokens no less: not 9 and 8"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpanOptions(**options)  # type: ignore[arg-type]
