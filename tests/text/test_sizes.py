"""Bytes of cleaned text, by hand."""

import pyarrow as pa
import pytest

from ulmfit_ray.text.presets import PRESETS, TEXT_RULES, clean
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.sizes import WRITES_NOTHING, text_bytes, word_bytes


@pytest.mark.parametrize(
    ("text", "rules", "cleaned"),
    [
        ("Paris  and NATO!!!!  ", "none", "Paris  and NATO!!!!  "),
        ("Paris  and NATO!!!!  ", "fastai-v2", "paris and nato!!!!"),
        ("a/b &lt; c<br />na\u00efve", "fastai-v2", "a/b < c\nna\u00efve"),
        ("go go go go", "fastai-v2", "go go go go"),
        ("  Paris  &lt; <BR/>x", "fastai-0.7", "Paris < \nx"),
        ("  Paris  x", "fastai-v1", "Paris x"),
        ("", "fastai-v2", ""),
    ],
)
def test_marks_and_the_spaces_of_rules_are_not_counted_and_what_rules_take_away_is_not_either(
    text: str, rules: str, cleaned: str
) -> None:
    assert text_bytes([text], (rules,)) == len(cleaned.encode()) + 1
    assert text_bytes([text], PRESETS[rules]) == len(cleaned.encode()) + 1


def test_each_field_counts_its_end() -> None:
    assert text_bytes(["one", "", "two"], ("none",)) == len("one\n\ntwo\n")


def test_the_rules_that_are_left_out_are_those_that_write_marks_or_spaces() -> None:
    text = "NATO Paris x x x x x # aaaaa / y"
    for name, rule in TEXT_RULES.items():
        added = len(rule(text)) > len(text) or any(mark in rule(text).split() for mark in SPECIAL_TOKENS)
        assert added != (name in WRITES_NOTHING), name
    assert clean(text, tuple(sorted(WRITES_NOTHING))) == text.lower()


def test_a_word_has_the_bytes_of_its_text_and_a_shown_space_one() -> None:
    words = ["the", "\u2581the", "\u2581", "caf\u00e9", "\n\n", "\U0001f600", ""]
    assert word_bytes(pa.array(words, pa.string())).tolist() == [3, 4, 1, 5, 2, 4, 0]
    assert word_bytes(pa.array([], pa.string())).tolist() == []
