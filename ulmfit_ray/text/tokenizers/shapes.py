"""How a word of letters and marks is cut, known from a word of the same shape that spaCy has cut before.

The shape of a word has "abc" in place of each run of three small letters or more: "film-making," has the shape of
"abc-abc,". Two words of one shape are cut at the same places, if

(1) no pattern for what falls off a word, or cuts it, tells one letter of such a run from another (letters.py);
(2) no special case is met: none of the word's runs stands in one, and the shape itself meets none;
(3) what is left of the word when everything has fallen off cannot be a URL.

That is proven from the patterns of the language, not by example; where it cannot be, spaCy cuts the word.
"""

import re
import string
from typing import Any

from ulmfit_ray.text.tokenizers.letters import ASCII_LETTERS, NUM_LETTERS, may_match, tells_no_letters_apart

LONG_RUN = re.compile(f"[a-z]{{{NUM_LETTERS},}}")
ELEMENT = re.compile("[a-z]+|.", re.DOTALL)
"""A run of letters, or a mark."""
LONGEST = 50
"""Longer shapes are left to long_words.py: to ask what falls off them takes time with the square of their length."""
RUNS = ("abc", "xyz", "qqq")
"""What may stand for a run; the first that stands in no special case does."""
MARKS = frozenset(string.punctuation + "\u2018\u2019\u201c\u201d\u2013\u2014\u2026")
SEARCHES = ("prefix_search", "suffix_search", "infix_finditer")
UNKNOWN: tuple[str, ...] = ()


class Shapes:
    """The shapes of one language, remembered with the places at which they are cut."""

    def __init__(self, tokenizer: Any, words_alone: Any) -> None:
        self._tokenizer, self._words_alone = tokenizer, words_alone
        self._case_runs = frozenset(run for rule in tokenizer.rules for run in LONG_RUN.findall(rule))
        self._run = next((run for run in RUNS if run not in self._case_runs), "")
        marks = _marks(tokenizer) if self._run else frozenset()
        self._alphabet = re.compile(f"[a-z{re.escape(''.join(sorted(marks)))}]+")
        self._cuts: dict[str, tuple[int, ...]] = {}
        self._may_be_url: dict[frozenset[str], bool] = {}
        if tokenizer.token_match is not None or not self._run:
            self._alphabet = re.compile("(?!)")

    def cut(self, words: list[str]) -> list[tuple[str, ...]]:
        """Return the tokens of each word, or none where spaCy must be asked."""
        shapes = LONG_RUN.sub(self._run, "\n".join(words)).split("\n")
        return [self._tokens(word, shape) for word, shape in zip(words, shapes, strict=True)]

    def _tokens(self, word: str, shape: str) -> tuple[str, ...]:
        ends = self._cuts.get(shape)
        if ends is None:
            ends = self._cuts[shape] = self._ends(shape)
        if not ends:
            return UNKNOWN
        elements = [word] if shape == self._run else ELEMENT.findall(word)
        if not self._case_runs.isdisjoint(elements):
            return UNKNOWN
        if len(ends) == 1:
            return (word,)
        start, tokens = 0, []
        for end in ends:
            tokens.append("".join(elements[start:end]))
            start = end
        return tuple(tokens)

    def _ends(self, shape: str) -> tuple[int, ...]:
        """Return how many elements of a shape stand before the end of each token; none if spaCy must cut its words."""
        is_fine = len(shape) <= LONGEST and self._alphabet.fullmatch(shape)
        core = self._core(shape) if is_fine else None
        if core is None or self._url_may_match(core):
            return ()
        places, place = {}, 0
        for number, element in enumerate(ELEMENT.findall(shape), 1):
            place += len(element)
            places[place] = number
        ends, place = [], 0
        for token in self._words_alone(shape):
            place += len(token.text)
            if place not in places:
                return ()
            ends.append(places[place])
        return tuple(ends)

    def _core(self, word: str) -> str | None:
        """Return what is left when all has fallen off, or None where a special case is met (spaCy: _split_affixes)."""
        rules = self._tokenizer.rules
        last = -1
        while word and len(word) != last:
            last = len(word)
            front = self._tokenizer.find_prefix(word)
            end = last - self._tokenizer.find_suffix(word[front:])
            if not rules.keys().isdisjoint((word, word[front:], word[:end])):
                return None
            word = word[front:end]
        return word

    def _url_may_match(self, core: str) -> bool:
        characters = frozenset(core) - ASCII_LETTERS
        if characters not in self._may_be_url:
            self._may_be_url[characters] = may_match(self._tokenizer.url_match, ASCII_LETTERS | characters)
        return self._may_be_url[characters]


def _marks(tokenizer: Any) -> frozenset[str]:
    """Return the marks beside which no pattern of the language tells letters apart."""

    def are_fine(marks: frozenset[str]) -> bool:
        return all(
            tells_no_letters_apart(getattr(tokenizer, name), marks, at_end=name == "suffix_search") for name in SEARCHES
        )

    if are_fine(MARKS):
        return MARKS
    found = frozenset[str]()
    for mark in sorted(MARKS):
        if are_fine(found | {mark}):
            found |= {mark}
    return found
