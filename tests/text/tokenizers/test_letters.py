"""What patterns can find in letters and marks: read from them, and compared with what they do find."""

import re

import pytest

from ulmfit_ray.text.tokenizers.letters import finds_nothing_in_letters, may_match, tells_no_letters_apart


@pytest.mark.parametrize(
    ("pattern", "finds_nothing"),
    [
        (r"\.$|,$", True),
        (r"(?<=[0-9])km$", True),
        (r"'s$", True),
        (r"[a-f0-9]-", True),
        (r"s$", False),
        (r"[^,]$", False),
        (r"\w", False),
        (r"(?<!x)y$", False),
        (r"\.?", False),
        (r"(?:-|x)$", False),
        (r"(?i:K)$", False),
        (r"[\u043a-\u043c]$", False),
        (r"\d+$", True),
    ],
)
def test_what_a_pattern_finds_in_letters_is_read_from_it(pattern: str, finds_nothing: bool) -> None:
    assert finds_nothing_in_letters(re.compile(pattern).search) == finds_nothing
    if not finds_nothing:
        return
    assert not any(re.search(pattern, word) for word in ("abc", "km", "xyz", "stra\u00dfe", "\u043c\u0438\u0440"))


@pytest.mark.parametrize(
    ("pattern", "at_end", "is_blind"),
    [
        (r"\.$|,$", True, True),
        (r"[.,]+$", True, True),
        (r"(?<=[a-z])\.$|(?<!\d),$", True, True),
        (r"(?<=[a-m])\.$", True, False),
        (r"(?<!s)\.$", True, False),
        (r"(?:(?<=[a-m])\.)$", True, False),
        (r"(?<=[a-z][a-z][a-z][a-z])\.$", True, False),
        (r"(?<=[0-9])(?:km|m)$|!$", True, True),
        (r"'s$|'$", True, True),
        (r"(?<=[a-z])'[a-d][a-d]$", True, True),
        (r"(?<=x)'s$", True, False),
        (r"'sss$", True, False),
        (r"'s", True, False),
        (r"'s$", False, False),
        (r"s\.$", True, False),
        (r"[^a]$", True, False),
        (r"\w+-$", True, False),
        (r"(?i:x)?\.$", True, False),
        (r"^\(|^us\$", False, False),
        (r"^\(|^US\$", False, True),
        (r"^:(?![a-z])|^\(", False, True),
        (r"^:(?=[a-m])", False, False),
        (r"(?<=[a-z])(?:-|--)(?=[a-z])|\.\.+", False, True),
        (r"(?<=[a-z]),(?=[b-z])", False, False),
        (r"(?<=[\da-f])-", False, False),
        (r"(?<=[\da-z])-", False, True),
        (r"(?<=[\W\d])-", False, True),
        (r"(?<=[^\Wa-f])-", False, False),
        (r"(?<=\b\w\w\w)-", False, False),
        (r"(?<=\b\w\w)-", False, True),
        (r"(?i:-|S)", False, False),
        (r"(?<=[a-z])(?=[a-z])", False, False),
    ],
)
def test_whether_a_pattern_tells_letters_apart_is_read_from_it(pattern: str, at_end: bool, is_blind: bool) -> None:
    search = re.compile(pattern).search
    assert tells_no_letters_apart(search, frozenset(".,:!'()-$"), at_end=at_end) == is_blind
    if not is_blind:
        return
    words = [f"{{}}{mark}" for mark in (".", "..", "'s", "!", ",", "'ab", "$", ":")]
    words += [f"{mark}{{}}" for mark in ("(", ":", "$")] + ["{}-{}", "{},{}", "{}--{}'s", "{}'{}"]
    for word in words:
        spans = [_spans(search, word, run) for run in ("abc", "was", "zzz", "kmm", "uss")]
        assert spans == spans[:1] * len(spans), word


def _spans(search: object, word: str, run: str) -> list[tuple[int, int]]:
    assert callable(search)
    found = search(word.replace("{}", run))
    return [found.span()] if found else []


def test_a_pattern_that_needs_a_mark_matches_no_word_without_it() -> None:
    url = re.compile(r"^(?:\w+://)?(?:[a-z]+\.)+[a-z]{2,}$").match
    assert not may_match(url, frozenset("abcdefghijklmnopqrstuvwxyz-'"))
    assert may_match(url, frozenset("abcdefghijklmnopqrstuvwxyz."))
    assert not may_match(None, frozenset("a"))
