"""Long words: cut exactly as spaCy cuts them, and in so many steps as they have characters, times a constant."""

import functools
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from ulmfit_ray.text.tokenizers.kinds import TokenizerSettings
from ulmfit_ray.text.tokenizers.light_spacy import spacy
from ulmfit_ray.text.tokenizers.long_words import LONGEST, url_match, with_long_words
from ulmfit_ray.text.tokenizers.spacy_words import MAX_WORD, SpacyTokenizer

from spacy.tokenizer import Tokenizer  # isort: skip

PIECES = """
( ) [ ] { } . .. ... ..... , ; : ! ? ' '' " ` 's 'S \u2019s \u2026 \u2014 \u2013 -- - _ # * & % $ US$ \u20ac + = < > </3
<3 :) :( :O 8) :-) (: ^_^ >.< =D o.O a z ab abc Abc ABC x1 1 12 1.5 1,000 5km 10% 3kg \u00b0C. km/h a.m. U.S. U.S.A.
e.g. z. don't can't he's goin' C++ ma'am o'clock @ @a.b a@b.c: user:pass@host.com http:// ://a.b/ www.a.com /path ?q=1
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
    """Yield words of up to 400 characters: random pieces, few or many different ones, and runs of one."""
    draw = random.Random(seed)
    for _ in range(number):
        pool = draw.choices(PIECES + rules, k=draw.randint(1, 6)) if draw.random() < 0.6 else PIECES
        word = "".join(draw.choices(pool, k=draw.choice([5, 20, 60, 100])))
        front, end = ("".join(draw.choices(PIECES, k=draw.randint(0, 6))) for _ in range(2))
        run = draw.choice([".", "a", "1", "ab-", "a.", "\u00e9"]) * draw.randint(1, 80)
        yield draw.choice([word, word, front + run + end, run + word, word + run, word + draw.choice(rules)])[:400]


@functools.cache
def plain(lang: str) -> Any:
    tokenizer: Any = spacy.blank(lang).tokenizer
    tokenizer.add_special_case("xxbos", [{"ORTH": "xxbos"}])
    return tokenizer


def words_of(doc: Any) -> list[str]:
    return [token.text for token in doc]


@pytest.mark.parametrize(("lang", "number"), [("en", 600), ("de", 100), ("es", 100), ("ru", 100), ("bn", 100)])
def test_long_words_are_cut_as_spacy_cuts_them(lang: str, number: int) -> None:
    tokenizer = plain(lang)
    linear = with_long_words(tokenizer)
    assert linear is not None
    rules = [rule for rule in tokenizer.rules if not rule.isspace() and " " not in rule]
    words = list(long_words(number, 5, rules))
    assert sum(len(word) > LONGEST for word in words) > number / 2
    for word in words:
        assert words_of(linear(word)) == words_of(tokenizer(word)), ascii(word)


class Counted:
    """A search of spaCy's that counts the characters it is given."""

    def __init__(self, search: Callable[[str], Any]) -> None:
        self._search, self.__self__, self.num_characters = search, search.__self__, 0  # type: ignore[attr-defined]

    def __call__(self, text: str) -> Any:
        self.num_characters += len(text)
        return self._search(text)


@functools.cache
def counted() -> tuple[Any, list[Counted]]:
    """Return a tokenizer that takes long words, and its searches."""
    tokenizer = plain("en")
    names = ("prefix_search", "suffix_search", "infix_finditer", "url_match")
    searches = {name: Counted(getattr(tokenizer, name)) for name in names}
    return with_long_words(Tokenizer(tokenizer.vocab, rules=tokenizer.rules, **searches)), list(searches.values())


def characters_looked_at(word: str) -> int:
    """Return how many characters the searches of a tokenizer are given while it cuts a word."""
    linear, searches = counted()
    before = sum(search.num_characters for search in searches)
    linear(word)
    return sum(search.num_characters for search in searches) - before


@pytest.mark.parametrize("unit", ADVERSARIAL)
def test_a_word_ten_times_as_long_is_looked_at_ten_times_as_long(unit: str) -> None:
    looked_at = characters_looked_at(unit * 100)
    assert characters_looked_at(unit * 1000) <= 12 * max(looked_at, 20 * len(unit))


def test_a_url_is_looked_for_once_behind_each_sign() -> None:
    is_url = url_match(plain("en").url_match)
    assert is_url is not None
    spacys = plain("en").url_match
    for word in long_words(300, 6, ["http://a.b", "@a.bc", "a:b@c.de/", "x://", "://", "127.0.0.1", "8.8.8.8"]):
        if not any(character.isspace() for character in word) and len(word) < 120:
            assert is_url(word) == bool(spacys(word)), ascii(word)
    # spaCy's own pattern tries each colon with each "@" behind it: a million steps here, a day's for a megabyte.
    assert not is_url("a:@" * 300_000)


def test_a_long_word_beside_others_and_inside_of_special_cases_is_cut_as_by_spacy() -> None:
    settings = TokenizerSettings(rules=("none",))
    tokenizer = SpacyTokenizer(settings)
    spacys = plain("en")
    draw = random.Random(7)
    words = list(long_words(60, 8, [":)", "(:", "a.m."]))
    texts = [" ".join(draw.choices([*words, "the", ":", ")", "( )", "\n"], k=6)) for _ in range(40)]
    expected = [[word.replace(" ", "\u2581") for word in words_of(spacys(text))] for text in texts]
    assert [tokenizer(text) for text in texts] == expected
    found = tokenizer.tokenize(texts)
    numbers = [found.ids[start:end] for start, end in pairwise(found.bounds)]
    assert [[found.types[number] for number in own] for own in numbers] == expected


def test_a_document_with_a_long_word_is_refused_only_where_its_language_needs_spacy_for_it() -> None:
    long = "(" * (MAX_WORD + 1)
    assert SpacyTokenizer(TokenizerSettings(lang="en")).refusal(f"a {long}") is None
    portuguese = SpacyTokenizer(TokenizerSettings(lang="pt"))
    assert portuguese.refusal(f"a {long[1:]} b" + " c" * MAX_WORD) is None
    assert portuguese.refusal(f"a {long} b") == (
        "word too long",
        "1,001 characters without a space, --lang pt takes 1,000",
    )
    joined = portuguese.refusal("ab @-@ " * MAX_WORD)
    assert joined is not None
    assert joined[0] == "word too long"
