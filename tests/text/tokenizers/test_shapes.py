"""Words cut by their shape have the tokens that spaCy gives them."""

import random
from typing import Any

import pytest
import spacy

from ulmfit_ray.text.tokenizers.shapes import MARKS, Shapes

RUNS = ("film", "don", "was", "can", "gonna", "not", "cannot", "ham", "kms", "xxbos", "ing", "mrs", "www", "com", "jan")
SHORT = ("s", "a", "i", "m", "d", "o", "x", "us", "am", "pm", "re", "ll", "ve", "km", "mr", "dr", "e", "g", "", "")


def random_words(count: int, seed: int) -> list[str]:
    """Return words of runs and marks, many of them nearly special cases, URLs, numbers with units."""
    rng = random.Random(seed)
    marks = [*sorted(MARKS), *"''..--,,))((\"\"::", "...", "--", "://", "'s", "n't", ""]

    def part() -> str:
        runs = rng.choice((RUNS, SHORT))
        return rng.choice(marks) * rng.randint(0, 2) + rng.choice(runs)

    words = ("".join(part() for _ in range(rng.randint(1, 4))) + rng.choice(marks) for _ in range(count))
    return list(dict.fromkeys(word for word in words if word))


@pytest.mark.parametrize("lang", ["en", "de", "fr", "es", "it", "tr", "ru", "ca", "sv", "hu"])
def test_words_of_a_known_shape_are_cut_as_spacy_cuts_them(lang: str) -> None:
    tokenizer: Any = spacy.blank(lang).tokenizer
    words = [*random_words(4000, seed=5), *(rule for rule in tokenizer.rules if not any(map(str.isspace, rule)))]
    # Twice: what is remembered of a shape serves the second word of it.
    shapes = Shapes(tokenizer, tokenizer)
    shapes.cut(words[::-1])
    known = {word: tokens for word, tokens in zip(words, shapes.cut(words), strict=True) if tokens}
    assert {word: tuple(token.text for token in tokenizer(word)) for word in known} == known
    if lang in ("en", "de", "es"):
        assert len(known) > len(words) / 4


def test_a_word_with_a_run_of_a_special_case_is_left_to_spacy() -> None:
    tokenizer: Any = spacy.blank("en").tokenizer
    shapes = Shapes(tokenizer, tokenizer)
    assert shapes.cut(["film-making,", "don-making", "fonda's"]) == [
        ("film", "-", "making", ","),
        (),
        ("fonda", "'s"),
    ]
    tokenizer.add_special_case("film", [{"ORTH": "fi"}, {"ORTH": "lm"}])
    assert Shapes(tokenizer, tokenizer).cut(["film-making,"]) == [()]


def test_a_shape_that_may_be_a_url_or_has_other_characters_is_left_to_spacy() -> None:
    tokenizer: Any = spacy.blank("en").tokenizer
    words = ["spacy.org", "caf\u00e9", "abc1", "abc\u00b4s"]
    assert Shapes(tokenizer, tokenizer).cut(words) == [()] * len(words)
    tokenizer.token_match = lambda word: word == "film-making"
    assert Shapes(tokenizer, tokenizer).cut(["film-making"]) == [()]
