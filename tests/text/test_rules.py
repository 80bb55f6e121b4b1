"""What each cleaning rule of fastai 2 does."""

import pytest
from trap_texts import trap_texts

from ulmfit_ray.text import rules
from ulmfit_ray.text.rules import SPECIAL_TOKENS


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (rules.fix_html, "a #39; b amp; c nbsp;d\\n e... @.@ f", "a ' b & c  d\n e \u2026.f"),
        (rules.replace_rep, "cccc dd", " xxrep 4 c  dd"),
        (rules.replace_wrep, "no no no, yes yes", " xxwrep 3 no , yes yes"),
        (rules.spec_add_spaces, "a/b#c\\d", "a / b # c \\ d"),
        (rules.rm_useless_spaces, "a   b  c\t\td", "a b c\t\td"),
        (rules.replace_all_caps, "NATO A aB C++", "xxup nato a aB xxup c++"),
        (rules.replace_maj, "Paris A iPhone MacBook", "xxmaj paris a iPhone MacBook"),
        (rules.lowercase, "  \u00c4B c ", "\u00e4b c"),
    ],
)
def test_each_rule_does_what_its_name_says(rule: object, text: str, expected: str) -> None:
    assert callable(rule)
    assert rule(text) == expected


def test_special_tokens_begin_every_vocabulary_in_fastai_v2_order() -> None:
    assert SPECIAL_TOKENS == ("xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj")


def test_words_in_capitals_are_found_as_by_fastais_own_pattern() -> None:
    for text in (*trap_texts(300, seed=11), "ABa", "AB1!", "A\u00c9B", "AB\nCD ", "ABABABa AB"):
        assert rules.CAPITALS.findall(text) == rules.PATTERNS["replace_all_caps"].findall(text)


def test_long_words_of_capitals_and_numbers_are_cleaned_at_once() -> None:
    # fastai's own pattern would try each border between capitals and capitals: 10^11 steps.
    assert rules.replace_all_caps("AB" * 300_000 + "a") == "AB" * 300_000 + "a"
    assert rules.fix_html(f"&#{'9' * 5_000}; &#{'0' * 5_000}65; &#{'0' * 5_000}; &#65;") == "\ufffd A \ufffd A"
