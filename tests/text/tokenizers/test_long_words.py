"""Long words: cut exactly as spaCy cuts them, and in so many steps as they have characters, times a constant."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings
from ulmfit_ray.text.tokenizers.light_spacy import spacy
from ulmfit_ray.text.tokenizers.long_words import LONGEST, with_long_words
from ulmfit_ray.text.tokenizers.spacy_words import MAX_WORD, SpacyTokenizer

PIECES = """
( ) [ ] { } . .. ... ..... , ; : ! ? ' '' " ` 's 'S \u2019s \u2026 \u2014 \u2013 -- - _ # * & % $ US$ \u20ac + = < > </3
<3 :) :( :O 8) :-) (: ^_^ >.< =D o.O a z ab abc Abc ABC x1 1 12 1.5 1,000 5km 10% 3kg \u00b0C. km/h a.m. U.S. U.S.A. e.g.
Mr. z. don't can't he's goin' C++ ma'am o'clock @ @a.b a@b.c: user:pass@host.com http:// ://a.b/ www.a.com /path ?q=1
:80 10.0.0.1 256.1.1.1 a-b x/y a,b a=b a:b 1-2 1+2 A.b a.B lower.Upper \u00e9 \u00c9cole \u00df \u4f60\u597d \u3002
\u300c \u0645\u0631 \u060c \U0001f600 \u00a9 \u00bd \u00b2 \u200b \u0301 \0 xxbos \\ \\n \\") &amp; \u00bf \u0915 \u0964
""".split()  # noqa: SIM905
ADVERSARIAL = [
    "(",
    "()",
    "a.",
    "a@:",
    ":)",
    ".",
    "a-b",
    "'s",
    "5km",
    "a.b/",
    "@a.b:",
    "..a",
    ".'",
    "U.S.",
    "\U0001f600",
]


def long_words(number: int, seed: int, rules: list[str]) -> Iterator[str]:
    """Yield words of 0 to 400 characters: random pieces, few or many different ones, runs in between and at the ends."""
    draw = random.Random(seed)
    for _ in range(number):
        pool = draw.choices(PIECES + rules, k=draw.randint(1, 6)) if draw.random() < 0.6 else PIECES
        word = "".join(draw.choices(pool, k=draw.choice([5, 20, 60, 100])))
        front, end = ("".join(draw.choices(PIECES, k=draw.randint(0, 6))) for _ in range(2))
        run = draw.choice([".", "a", "1", "ab-", "a.", "\u00e9"]) * draw.randint(1, 80)
        yield draw.choice([word, word, front + run + end, run + word, word + run, word + draw.choice(rules)])[:400]


def plain(lang: str) -> Any:
    tokenizer: Any = spacy.blank(lang).tokenizer
    tokenizer.add_special_case("xxbos", [{"ORTH": "xxbos"}])
    return tokenizer


def words_of(doc: Any) -> list[str]:
    return [token.text for token in doc]


@pytest.mark.parametrize(
    ("lang", "number"), [("en", 1500), ("de", 300), ("es", 300), ("ru", 300), ("bn", 300), ("zu", 0)]
)
def test_long_words_are_cut_as_spacy_cuts_them(lang: str, number: int) -> None:
    tokenizer = plain(lang) if number else plain("xx")
    linear = with_long_words(tokenizer)
    assert linear is not None
    rules = [rule for rule in tokenizer.rules if not rule.isspace() and " " not in rule]
    words = list(long_words(number or 300, 5, rules))
    assert sum(len(word) > LONGEST for word in words) > len(words) / 2
    for word in words:
        assert words_of(linear(word)) == words_of(tokenizer(word)), ascii(word)
