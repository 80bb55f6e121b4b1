"""Rules by name: which go together, in which order they run, and what their fingerprint promises."""

import re

import pytest

from ulmfit_ray.text import earlier_rules, rules
from ulmfit_ray.text.presets import (
    FASTAI_V2,
    NONE,
    PRESETS,
    TEXT_RULES,
    TOKEN_RULES,
    clean,
    clean_tokens,
    rule_names,
    rules_fingerprint,
)


def test_preset_none_leaves_the_text_as_it_is() -> None:
    text = "HELLO   &amp; cccc\n"
    assert clean(text, NONE) == clean(text, ()) == text
    assert clean(text, FASTAI_V2) != text
    assert clean_tokens(["HELLO", "a"], FASTAI_V2) == ["HELLO", "a"]


def test_rules_run_in_the_order_in_which_they_are_named() -> None:
    assert clean("ABC\\nd", ("lowercase", "fix_html")) == "abc\nd"
    assert clean("a  b", ("rm_useless_spaces", "spec_add_spaces")) == "a b"
    assert clean("a # b", ("spec_add_spaces", "rm_useless_spaces")) == "a # b"
    assert clean("a # b", ("rm_useless_spaces", "spec_add_spaces")) == "a  #  b"


def test_rules_for_tokens_run_one_after_the_other_on_what_the_first_has_made() -> None:
    both = ("deal_caps", "replace_all_caps_v1")
    assert clean_tokens(["NATO", "Paris"], both) == ["nato", "xxmaj", "paris"]
    assert clean_tokens(["NATO", "Paris"], both[::-1]) == ["xxup", "nato", "xxmaj", "paris"]
    assert clean("NATO Paris", both) == "NATO Paris"


def test_every_rule_of_a_preset_is_known_and_every_rule_has_one_name() -> None:
    for names in PRESETS.values():
        assert set(names) <= {*TEXT_RULES, *TOKEN_RULES}
    assert not set(TEXT_RULES) & set(TOKEN_RULES)
    assert not {*TEXT_RULES, *TOKEN_RULES} & set(PRESETS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("fix_htlm",), "there is no rule 'fix_htlm'; did you mean fix_html?"),
        (("lowercase", "fastai-v3"), "there is no rule 'fastai-v3'; did you mean fastai-v2?"),
        (("lowercase", "none"), "none is a preset, and stands for all its rules: name it alone"),
    ],
)
def test_a_rule_that_is_not_there_is_refused_beside_the_nearest(given: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        rule_names(given)


def test_a_rule_like_no_other_is_refused_beside_all_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"known are fastai-v2, fastai-v1, fastai-0\.7, none, fix_html, "):
        rule_names(("qqqq",))


def test_fingerprint_of_rules_covers_names_order_and_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules_fingerprint(FASTAI_V2)
    assert before != rules_fingerprint(NONE)
    with monkeypatch.context() as patch:
        patch.setitem(PRESETS, "fastai-v2", PRESETS["fastai-v2"][::-1])
        assert rules_fingerprint(FASTAI_V2) != before
    with monkeypatch.context() as patch:
        patch.setitem(rules.PATTERNS, "replace_rep", rules.PATTERNS["replace_maj"])
        assert rules_fingerprint(FASTAI_V2) != before
    with monkeypatch.context() as patch:
        patch.setattr(rules, "HTML_REPLACEMENTS", rules.HTML_REPLACEMENTS[1:])
        assert rules_fingerprint(FASTAI_V2) != before
    assert rules_fingerprint(FASTAI_V2) == before == rules_fingerprint(PRESETS["fastai-v2"])


@pytest.mark.parametrize(("preset", "rule"), [("fastai-v1", "fix_html_v1"), ("fastai-0.7", "fixup")])
def test_fingerprint_of_earlier_rules_covers_what_they_replace(
    monkeypatch: pytest.MonkeyPatch, preset: str, rule: str
) -> None:
    before = rules_fingerprint((preset,))
    monkeypatch.setitem(earlier_rules.REPLACEMENTS, rule, earlier_rules.REPLACEMENTS[rule][1:])
    assert rules_fingerprint((preset,)) != before
    monkeypatch.undo()
    assert rules_fingerprint((preset,)) == before
    monkeypatch.setitem(earlier_rules.PATTERNS, "replace_rep_v1", rules.PATTERNS["replace_rep"])
    assert rules_fingerprint((preset,)) != before
