"""Words after cleaning ("spans") and their tokens: each is cut once, and remembered.

Most spans are known without spaCy (letters.py); the others are given to it together, a line for each. Those in which
it may find a special case are given to it once more, whole.
"""

from itertools import chain
from typing import Any

import numpy as np
from spacy.symbols import ORTH

from ulmfit_ray.text.tokenizers.neighbours import SpecialCases
from ulmfit_ray.text.tokenizers.tokenized import ranges

SPAN = np.dtype(
    [
        ("start", np.int64),  # its tokens are tokens[start : start + length]
        ("length", np.int32),
        ("first", np.int32),  # its first and last token, before special cases were looked for
        ("last", np.int32),
        ("holds_case", np.bool_),  # a special case was found in it
    ]
)
"""A word after cleaning, as spaCy cuts it by itself."""


class Growing:
    """An array that is appended to."""

    def __init__(self, dtype: Any) -> None:
        self._array, self._size = np.empty(1024, dtype), 0

    def __len__(self) -> int:
        return self._size

    def append(self, values: np.ndarray) -> None:
        """Add values at the end."""
        if self._size + len(values) > len(self._array):
            self._array = np.concatenate([self.values, np.empty(self._size + 2 * len(values), self._array.dtype)])
        self._array[self._size : self._size + len(values)] = values
        self._size += len(values)

    @property
    def values(self) -> np.ndarray:
        """Return what was appended; valid until the next append."""
        return self._array[: self._size]


class SpanTable:
    """The spans and tokens of one spaCy tokenizer.

    A token is its number, its place in `tokens`. A span's tokens are a range of `flat`.
    """

    def __init__(self, spacy_tokenizer: Any) -> None:
        self._spacy = spacy_tokenizer
        self.cases = SpecialCases(spacy_tokenizer)
        # Numbered from 1 on, those that stand in special cases first.
        self.tokens: list[str] = [""]
        self._numbers: dict[str, int] = {}
        self._of_hash: dict[int, int] = {}
        for token in self.cases.tokens:
            self.number(token)
        self._spans: dict[str, int] = {}
        self._table, self.flat = Growing(SPAN), Growing(np.int32)

    def cut_text(self, text: str) -> np.ndarray:
        """Return the tokens of a cleaned text, as spaCy cuts it as a whole."""
        return self.numbers_of(self._spacy(text))

    def add_tokens(self, tokens: np.ndarray) -> int:
        """Keep tokens in `flat`, and return where they start."""
        start = len(self.flat)
        self.flat.append(tokens)
        return start

    def cut_lines(self, lines: list[str]) -> np.ndarray:
        """Return cleaned pieces as spans; each is one span or several with a space between."""
        flat = " ".join(lines).split(" ")
        widths = np.array([line.count(" ") + 1 for line in lines])
        new = [span for span in dict.fromkeys(flat) if span not in self._spans]
        if new:
            self._add_spans(new)
        spans = self._table.values[np.fromiter(map(self._spans.__getitem__, flat), np.int64, len(flat))]
        ends = np.cumsum(widths)
        starts = ends - widths
        rows = spans[starts]
        rows["last"] = spans["last"][ends - 1]
        several = np.flatnonzero(widths > 1)
        rows["length"] = np.add.reduceat(spans["length"], starts)
        rows["holds_case"] = np.logical_or.reduceat(spans["holds_case"], starts)
        chosen = np.repeat(widths > 1, widths)
        tokens = self.flat.values[ranges(spans["start"][chosen], spans["length"][chosen])]
        lengths = rows["length"][several]
        rows["start"][several] = len(self.flat) + np.cumsum(lengths) - lengths
        self.flat.append(tokens)
        for place in self._meeting(spans, starts, several):
            self._cut_whole(rows, place, lines[place])
        return rows

    def _meeting(self, spans: np.ndarray, starts: np.ndarray, several: np.ndarray) -> np.ndarray:
        """Return which pieces of several spans must be cut as a whole; see SpecialCases."""
        meet = np.flatnonzero(self.meet(spans[:-1], spans[1:]))
        return np.intersect1d(np.searchsorted(starts, meet, side="right") - 1, several)

    def _add_spans(self, spans: list[str]) -> None:
        """Cut new spans, each by itself. Most are one token; spaCy gets the others."""
        self._spans.update(zip(spans, range(len(self._spans), len(self._spans) + len(spans)), strict=True))
        known = self.cases.known_tokens(spans)
        lengths = np.array([len(tokens) for tokens in known])
        tokens = np.array([self.number(token) for token in chain.from_iterable(known)], np.int32)
        is_known = lengths > 0
        rows = np.zeros(len(spans), SPAN)
        rows[is_known] = self._rows(tokens, lengths[is_known])
        others = [span for span, tokens_of_it in zip(spans, known, strict=True) if not tokens_of_it]
        if others:
            tokens = self.numbers_of(self.cases.words_alone("\n".join(others)))
            line_end = self.number("\n")
            ends = np.append(np.flatnonzero(tokens == line_end), len(tokens))
            assert len(ends) == len(others), "spaCy joined lines"
            rows[~is_known] = self._rows(tokens[tokens != line_end], np.diff(ends, prepend=-1) - 1)
        self._look_for_cases(rows, spans)
        self._table.append(rows)

    def _rows(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Keep the tokens of spans, joined, and return the spans' rows."""
        rows = np.zeros(len(lengths), SPAN)
        starts = np.cumsum(lengths) - lengths
        rows["start"], rows["length"] = starts + len(self.flat), lengths
        rows["first"], rows["last"] = tokens[starts], tokens[starts + lengths - 1]
        self.flat.append(tokens)
        return rows

    def _look_for_cases(self, rows: np.ndarray, spans: list[str]) -> None:
        """Cut those spans as a whole whose tokens may make a special case."""
        classes = self._classes(self.flat.values[ranges(rows["start"], rows["length"])])
        ends = np.cumsum(rows["length"])
        suspect = self.cases.is_one[classes]
        is_inside = np.ones(len(classes), bool)
        is_inside[ends - 1] = False
        suspect[:-1] |= self.cases.are_neighbours[classes[:-1], classes[1:]] & is_inside[:-1]
        for place in np.unique(np.searchsorted(ends, np.flatnonzero(suspect), side="right")):
            self._cut_whole(rows, place, spans[place])

    def _cut_whole(self, rows: np.ndarray, place: int, text: str) -> None:
        """Cut text with special cases looked for in the whole of it; change the row if that gives other tokens."""
        tokens = self.cut_text(text)
        start, length = rows["start"][place], rows["length"][place]
        if not np.array_equal(tokens, self.flat.values[start : start + length]):
            rows["start"][place], rows["length"][place] = len(self.flat), len(tokens)
            rows["holds_case"][place] = True
            self.flat.append(tokens)

    def meet(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Tell of neighbours, given as spans, which must be cut together; see SpecialCases."""
        classes = self._classes(left["last"]), self._classes(right["first"])
        holds = left["holds_case"] | right["holds_case"]
        meet: np.ndarray = (self.cases.are_neighbours[classes] & holds) | self.cases.are_joined[classes]
        return meet

    def _classes(self, tokens: np.ndarray) -> np.ndarray:
        """Return the class of each token; see SpecialCases."""
        return np.where(tokens <= len(self.cases.tokens), tokens, 0)

    def numbers_of(self, doc: Any) -> np.ndarray:
        """Return the numbers of a spaCy document's tokens."""
        hashes, inverse = np.unique(doc.to_array(ORTH), return_inverse=True)
        numbers = [self._of_hash.get(token_hash) or self._number_of_hash(token_hash) for token_hash in hashes.tolist()]
        return np.array(numbers, np.int32)[inverse]

    def _number_of_hash(self, token_hash: int) -> int:
        number = self._of_hash[token_hash] = self.number(spelling(self._spacy, token_hash))
        return number

    def number(self, token: str) -> int:
        """Return a token's number."""
        number = self._numbers.get(token)
        if number is None:
            number = self._numbers[token] = len(self.tokens)
            self.tokens.append(token)
        return number


def spelling(spacy_tokenizer: Any, token_hash: int) -> str:
    """Return the token behind a hash; spaces inside a token become the visible "\\u2581", as in fastai."""
    spelled: str = spacy_tokenizer.vocab.strings[token_hash].replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")
    return spelled
