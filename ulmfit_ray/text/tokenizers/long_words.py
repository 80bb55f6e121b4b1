"""Long words, cut as spaCy cuts them, in time that grows with their length and not with its square.

spaCy takes one piece after the other off the front and the end of a word, and looks through all that is left each time:
2,000 brackets in a row take it 3 seconds, 100,000 take two hours. Here both are looked for in a window at the front and
one at the end, as wide as the language's patterns look (windows.py). Whether a word is a URL is asked in parts: spaCy's
pattern tries each pair of a colon and an "@".

The tokenizer stays spaCy's. Its searches find nothing in a long word, but for the one that cuts what is left between
the ends: that returns all places at which the word is cut.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from spacy.tokenizer import Tokenizer

from ulmfit_ray.text.tokenizers.neighbours import without_search
from ulmfit_ray.text.tokenizers.windows import reach_at_end, reach_at_front, reach_inside

LONGEST = 50
"""Words of so many characters, or fewer, are left to spaCy. No language has a longer special case (31 characters)."""
URL_FRONT = r"(?u)^(?:(?:[\w\+\-\.]{2,})://)?(?:\S+(?::\S*)?@)?"
URL_END = r"(?:[/?#]\S*)?$"
"""spaCy's pattern of a URL has these around that of a host."""
SCHEME = re.compile(r"[\w\+\-\.]{2,}://")


class _Cut:
    """A place where a word is cut, as a match of `finditer`: a token of its own."""

    __slots__ = ("_end", "_start")

    def __init__(self, start: int, end: int) -> None:
        self._start, self._end = start, end

    def start(self) -> int:
        return self._start

    def end(self) -> int:
        return self._end


class _Search:
    """A search of a tokenizer that has another answer for long words."""

    def __init__(self, search: Callable[[str], Any] | None, in_long_word: Callable[[str], Any]) -> None:
        self._search, self._in_long_word = search, in_long_word
        # As a method of a compiled pattern has it: spaCy and letters.py read the pattern there.
        self.__self__ = getattr(search, "__self__", None)

    def __call__(self, text: str) -> Any:
        if len(text) > LONGEST and not text[0].isspace():
            return self._in_long_word(text)
        return None if self._search is None else self._search(text)


def with_long_words(tokenizer: Any) -> Any | None:
    """Return a tokenizer that cuts every text as this one does, long words in linear time; None: there is none.

    So it is with eleven of spaCy's languages: what they look for has no bound (in Portuguese, words with hyphens).
    """
    reaches = (
        reach_at_front(tokenizer.prefix_search),
        reach_at_end(tokenizer.suffix_search),
        reach_inside(tokenizer.infix_finditer),
    )
    are_narrow = all(reach is not None and reach < LONGEST for reach in reaches)
    is_url = url_match(tokenizer.url_match)
    if not are_narrow or is_url is None or tokenizer.infix_finditer is None or tokenizer.token_match is not None:
        return None
    if max(map(len, tokenizer.rules), default=0) > LONGEST:
        return None
    width = 1 + max(reach or 0 for reach in reaches)
    words = _LongWords(tokenizer, width, is_url)
    searches = {name: getattr(tokenizer, name) for name in ("prefix_search", "suffix_search", "url_match")}
    wrapped = {name: search and _Search(search, _finds_nothing) for name, search in searches.items()}
    infixes = _Search(tokenizer.infix_finditer, words.cuts)
    return Tokenizer(tokenizer.vocab, rules=tokenizer.rules, infix_finditer=infixes, **wrapped)


def _finds_nothing(word: str) -> None:
    return None


def url_match(match: Any) -> Callable[[str], bool] | None:
    """Return what tells in linear time whether a URL stands there, or None if the pattern is not spaCy's.

    What may stand in front of a host is a scheme, or anything that ends with "@". A host holds no "@", so what is
    looked at behind each one is looked at once.
    """
    if match is None:
        return lambda word: False
    pattern = getattr(match, "__self__", None)
    spelled = pattern.pattern if isinstance(pattern, re.Pattern) else ""
    if not (spelled.startswith(URL_FRONT) and spelled.endswith(URL_END)):
        return None
    host = re.compile(f"{spelled[len(URL_FRONT) : -len(URL_END)]}(?=[/?#]|$)")

    def is_url(word: str) -> bool:
        scheme = SCHEME.match(word)
        starts = (0, scheme.end()) if scheme else (0,)
        behind = (sign.end() for sign in re.finditer("@", word) if sign.start() > 0)
        return any(host.match(word, start) for start in (*starts, *behind))

    return is_url


class _LongWords:
    """What a tokenizer does with a word (spaCy: `_split_affixes` and `_attach_tokens`), step by step the same."""

    def __init__(self, tokenizer: Any, width: int, is_url: Callable[[str], bool]) -> None:
        self._find_prefix, self._find_suffix = tokenizer.find_prefix, tokenizer.find_suffix
        self._find_infixes, self._rules = tokenizer.infix_finditer, frozenset(tokenizer.rules)
        self._short, self._width, self._is_url = without_search(tokenizer), width, is_url

    def cuts(self, word: str) -> Iterator[_Cut]:
        """Yield the tokens of a word, but for the first: it ends where the second begins."""
        return (_Cut(start, end) for start, end in pairwise(self.ends(word)))

    def ends(self, word: str) -> Iterator[int]:
        """Yield where each token of a word ends."""
        start, stop = 0, len(word)
        last: list[int] = []
        while stop - start > LONGEST:
            front = start + self._front(word, start, stop)
            back = stop - self._end(word, front, stop)
            if front > start and self._is_case(word, front, stop):
                back = stop
            elif back < stop and self._is_case(word, start, back):
                front = start
            if front == start and back == stop:
                yield from self._core(word[start:stop], start)
                start = stop
            if front > start:
                yield front
            if back < stop:
                last.append(stop)
            start, stop = max(start, front), back
        for token in self._short(word[start:stop]):
            start += len(token.text)
            yield start
        yield from reversed(last)

    def _is_case(self, word: str, start: int, stop: int) -> bool:
        return stop - start <= LONGEST and word[start:stop] in self._rules

    def _front(self, word: str, start: int, stop: int) -> int:
        """Return how many characters fall off at the front."""
        window = word[start : min(start + self._width, stop)]
        length: int = self._find_prefix(window)
        if length < len(window) or len(window) == stop - start:
            return length
        while start + length < stop and word[start + length] == window[0]:
            length += 1
        return length

    def _end(self, word: str, start: int, stop: int) -> int:
        """Return how many characters fall off at the end."""
        window = word[max(start, stop - self._width) : stop]
        length: int = self._find_suffix(window)
        if length < len(window) or len(window) == stop - start:
            return length
        while start < stop - length and word[stop - length - 1] == window[0]:
            length += 1
        return length

    def _core(self, core: str, offset: int) -> Iterator[int]:
        """Yield where the tokens end of what is left when nothing falls off any more."""
        end = 0
        for infix in () if self._is_url(core) else self._find_infixes(core):
            if infix.start() == 0:
                continue
            if infix.start() != end:
                yield offset + infix.start()
            if infix.end() != infix.start():
                yield offset + infix.end()
            end = infix.end()
        if end < len(core):
            yield offset + len(core)
