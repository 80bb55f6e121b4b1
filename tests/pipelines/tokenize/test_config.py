"""What the options of `tokenize` say of the tokenizer."""

import pytest

from ulmfit_ray.config import ConfigError
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig, TokenizerOptions
from ulmfit_ray.text.tokenizers.kinds import Kind, TokenizerSettings


def settings(**options: object) -> TokenizerSettings:
    return TokenizeConfig(input=("in",), output="out", **options).tokenizer_settings()


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("spacy", ("fastai-v2",)),
        ("sentencepiece", ("fastai-v2",)),
        ("whitespace", ("none",)),
        ("characters", ("none",)),
    ],
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


PIECES = {"kind": "sentencepiece"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "m.model"}, "--tokenizer.model is for --tokenizer.kind sentencepiece"),
        ({"vocab_size": 8000}, "--tokenizer.vocab-size is for --tokenizer.kind sentencepiece"),
        ({"kind": "whitespace", "model_type": "bpe"}, "--tokenizer.model-type is for --tokenizer.kind sentencepiece"),
        (PIECES | {"model": "m.model", "vocab_size": 8000}, "--tokenizer.vocab-size says how a model is trained"),
        (PIECES | {"vocab_size": -1}, "--tokenizer.vocab-size must not be negative"),
        (PIECES | {"sample_bytes": 0}, "--tokenizer.sample-bytes at least 1"),
    ],
)
def test_options_of_a_model_that_do_not_go_together_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenizerOptions(**options)


def test_a_vocabulary_brings_its_own_model() -> None:
    settings(vocab="tokens", tokenizer=TokenizerOptions(kind="sentencepiece", eos="document"))
    settings(vocab="tokens", tokenizer=TokenizerOptions(eos="document"))
    with pytest.raises(ConfigError, match=r"--vocab brings its own tokenizer\.model"):
        settings(vocab="tokens", tokenizer=TokenizerOptions(kind="sentencepiece", model="m.model"))


@pytest.mark.parametrize(("option", "value"), [("max_vocab", 100), ("min_freq", 1)])
def test_a_given_vocabulary_leaves_no_choice_of_words(option: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"--vocab brings its own words: leave out --{option.replace('_', '-')}"):
        settings(vocab="other", **{option: value})
