"""What each cleaning rule does, and what the rules' fingerprint promises."""

import pytest

from ulmfit_ray.text import rules
from ulmfit_ray.text.rules import PRESETS, SPECIAL_TOKENS, clean, rules_fingerprint


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


def test_preset_none_leaves_the_text_as_it_is() -> None:
    text = "HELLO   &amp; cccc\n"
    assert clean(text, "none") == text
    assert clean(text, "fastai-v2") != text


def test_fingerprint_of_rules_covers_names_order_and_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_fingerprint("fastai-v2")
    assert before != rules_fingerprint("none")
    with monkeypatch.context() as patch:
        patch.setitem(PRESETS, "fastai-v2", rules.FASTAI_V2[::-1])
        assert rules_fingerprint("fastai-v2") != before
    with monkeypatch.context() as patch:
        patch.setitem(rules.PATTERNS, "replace_rep", rules.PATTERNS["replace_maj"])
        assert rules_fingerprint("fastai-v2") != before
    with monkeypatch.context() as patch:
        patch.setattr(rules, "HTML_REPLACEMENTS", rules.HTML_REPLACEMENTS[1:])
        assert rules_fingerprint("fastai-v2") != before
    assert rules_fingerprint("fastai-v2") == before


def test_special_tokens_begin_every_vocabulary_in_fastai_v2_order() -> None:
    assert SPECIAL_TOKENS == ("xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj")
