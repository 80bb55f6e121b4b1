"""Where a word is cut otherwise because of the words beside it. All other words can be cut once and remembered.

There are two such places, one in fastai's rules and one in spaCy.

*A repeated word.* The rule `replace_wrep` marks a word that stands three times or more in a row. The first and the
second must be whole words, the third must begin with the same word ("no no no!").

*A special case across words.* spaCy first cuts each word by itself; then it looks for its special cases (":)", "a.m.")
in the tokens of the whole text, and joins or cuts the tokens that make one. What it finds across a space (": )") is no
special case and changes nothing by itself, but it hides a shorter special case that shares a token with it. So the
neighbour matters only where the last token of a word and the first of the next one are neighbours in a special case,
and one of both words holds a special case. (spacy/tokenizer.pyx: `_apply_special_cases`, `_filter_special_spans`.) A
few languages have special cases with a space inside ("p. m."): there the neighbours in them are enough.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from spacy.symbols import ORTH
from spacy.tokenizer import Tokenizer

from ulmfit_ray.text.tokenizers.letters import ONLY_LETTERS, finds_nothing_in_letters
from ulmfit_ray.text.tokenizers.shapes import SEARCHES, Shapes


class _Switched:
    """A search of a tokenizer that finds nothing until it is switched on."""

    def __init__(self, search: Callable[[str], Any] | None, nothing: Any, *, skips_letters: bool) -> None:
        self._search, self._nothing, self._skips_letters = search, nothing, skips_letters
        self.is_on = False

    def __call__(self, text: str) -> Any:
        if not self.is_on or self._search is None or (self._skips_letters and ONLY_LETTERS.fullmatch(text)):
            return self._nothing
        return self._search(text)


class SpecialCases:
    """The special cases that spaCy looks for in the tokens of a whole text, as one language has them.

    Raises:
        ValueError: one of them holds whitespace that spaCy makes a token of.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.words_alone = without_search(tokenizer)
        """The tokenizer without this search: it cuts each word by itself."""
        searches = {name: getattr(tokenizer, name) for name in (*SEARCHES, *MATCHES)}
        self._rules = frozenset(tokenizer.rules)
        self._shapes = Shapes(tokenizer, self.words_alone)
        self._letters_are_tokens = all(finds_nothing_in_letters(searches[name]) for name in SEARCHES)
        affixes_only = Tokenizer(tokenizer.vocab, **searches)
        pairs: set[tuple[str, str]] = set()
        joining: set[tuple[str, str]] = set()
        alone: set[str] = set()
        for rule, tokens in tokenizer.rules.items():
            if rule.isspace() or not _is_looked_for(tokenizer, rule):
                continue
            cut = [token.text for token in affixes_only(rule)]
            if any(token.isspace() for token in cut):
                raise ValueError(f"the special case {rule!r} holds whitespace that is a token")
            (pairs if len(rule.split()) == 1 else joining).update(itertools.pairwise(cut))
            if len(cut) == 1 and cut != [_orth(tokenizer, token) for token in tokens]:
                alone.add(cut[0])
        self.tokens = sorted({token for pair in pairs | joining for token in pair} | alone)
        """The tokens of special cases; token i has class i + 1, all other tokens have class 0."""
        classes = {token: number for number, token in enumerate(self.tokens, 1)}
        self.are_neighbours, self.are_joined = np.zeros((2, len(classes) + 1, len(classes) + 1), bool)
        """[class of a token, class of the next one]: whether they are neighbours in a special case, and whether they
        may be so across a space ("p. m.")"""
        for left, right in pairs | joining:
            self.are_neighbours[classes[left], classes[right]] = True
        for left, right in joining:
            self.are_joined[classes[left], classes[right]] = True
        self.is_one = np.array([False, *(token in alone for token in self.tokens)])
        """[class of a token]: whether it is a special case by itself that is cut otherwise"""

    def known_tokens(self, words: list[str]) -> list[tuple[str, ...]]:
        """Return the tokens of each word, as it is cut by itself, or none where spaCy must be asked."""
        known = self._shapes.cut(words)
        if self._letters_are_tokens:
            for place, word in enumerate(words):
                if not known[place] and ONLY_LETTERS.fullmatch(word) and word not in self._rules:
                    known[place] = (word,)
        return known


MATCHES = ("token_match", "url_match")


def without_search(tokenizer: Any) -> Any:
    """Return a copy that knows all special cases as words and looks for none in a text.

    A tokenizer looks only for those in which its searches find something when it is made.
    """
    searches = {name: getattr(tokenizer, name) for name in SEARCHES}
    # The last search answers for all three where a word is long (long_words.py).
    skips_letters = all(map(finds_nothing_in_letters, searches.values()))
    switched = {
        name: _Switched(search, () if name == "infix_finditer" else None, skips_letters=skips_letters)
        for name, search in searches.items()
    }
    matches = {name: getattr(tokenizer, name) for name in MATCHES}
    copy = Tokenizer(tokenizer.vocab, rules=tokenizer.rules, **switched, **matches)
    for search in switched.values():
        search.is_on = True
    return copy


def _is_looked_for(tokenizer: Any, rule: str) -> bool:
    """Tell whether spaCy looks for a special case in the whole text (tokenizer.pyx, add_special_case)."""
    finds = (tokenizer.find_prefix, tokenizer.find_infix, tokenizer.find_suffix)
    return not tokenizer.faster_heuristics or " " in rule or any(find(rule) for find in finds)


def _orth(tokenizer: Any, token: dict[Any, Any]) -> str:
    orth = token.get(ORTH, token.get("ORTH"))
    return tokenizer.vocab.strings[orth] if isinstance(orth, int) else str(orth)
