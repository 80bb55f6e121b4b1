"""What the options of `tokenize` say of the tokenizer."""

import pytest

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig, TokenizerOptions
from ulmfit_ray.text.tokenizers.kinds import Kind, TokenizerSettings


def settings(**options: object) -> TokenizerSettings:
    return TokenizeConfig(input=("in",), output="out", **options).tokenizer_settings()


@pytest.mark.parametrize(
    ("kind", "rules"), [("spacy", ("fastai-v2",)), ("whitespace", ("none",)), ("characters", ("none",))]
)
def test_rules_are_those_that_suit_the_kind_unless_they_are_named(kind: Kind, rules: tuple[str, ...]) -> None:
    options = TokenizerOptions(kind=kind, eos="line")
    assert settings(tokenizer=options) == TokenizerSettings(kind=kind, rules=rules, eos="line")
    assert settings(tokenizer=options, rules=("lowercase",)).rules == ("lowercase",)


@pytest.mark.parametrize(
    ("options", "are_marked"),
    [
        ({}, False),
        ({"text_columns": ("title", "text")}, True),
        ({"rules": ("fastai-0.7",)}, True),
        ({"rules": ("fastai-0.7",), "mark_fields": "no"}, False),
        ({"rules": ("fastai-v1",)}, False),
        ({"mark_fields": "yes"}, True),
        ({"text_columns": ("title", "text"), "mark_fields": "no"}, False),
    ],
)
def test_fields_are_marked_when_there_are_several_or_the_rules_are_of_0_7(options: dict, are_marked: bool) -> None:
    assert settings(**options).mark_fields == are_marked


def test_a_rule_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="--rules: there is no rule 'lower'; did you mean"):
        settings(rules=("lower",))
