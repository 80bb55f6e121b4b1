"""Tokens of many texts at once: each distinct word is cleaned and cut once, and its tokens are remembered.

    texts -> pieces (pieces.py) -> rows of the table, cleaned and cut (spans.py) -> their tokens, gathered

The result is the plain tokenizer's, by construction: spaCy cuts each word by itself, and so do the rules but for two.
What looks across words is `fix_html`, which runs over whole texts, and the places that neighbours.py describes: a text
that holds one is cleaned, or cut, as a whole.
"""

import re
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from ulmfit_ray.text.presets import FASTAI_V2, clean
from ulmfit_ray.text.rules import PATTERNS, clean_words, fix_html, replace_rep
from ulmfit_ray.text.tokenizers.pieces import Pieces, cut
from ulmfit_ray.text.tokenizers.spans import SPAN, Growing, SpanTable
from ulmfit_ray.text.tokenizers.tokenized import Tokenized, ranges

ROW = np.dtype(
    [
        *((name, SPAN[name]) for name in SPAN.names or ()),
        ("lead", np.int32),  # number of the word it begins with; 0: none
        ("whole", np.int32),  # number of the last word in it, if that ends with it; 0: none
        ("padded", np.int32),  # of whitespace: the row with one space more behind it
        ("is_blank", np.bool_),  # whitespace
        ("is_padded", np.bool_),  # a rule puts a space in front of it
        ("is_several", np.bool_),  # a rule cuts it before words are looked at for repetition
        ("is_odd", np.bool_),  # a word is repeated inside it
    ]
)
"""A piece of text; cleaning may make several spans of it ("Paris" becomes "xxmaj paris")."""
LEADING_WORD = re.compile(r"\w+")
MAX_ROWS = 1_000_000
"""The table starts over when it has so many (about 500 MB with what spaCy keeps); filling it again takes seconds."""


class WordTable:
    """Words and whitespace with their tokens, of texts that are cleaned here by fastai 2's rules, or not at all."""

    def __init__(self, spans: SpanTable, *, cleans: bool) -> None:
        self._spans, self._cleans = spans, cleans
        # Texts in which words repeat are cleaned as a whole; then their words are cut one by one again.
        self._cleaned = WordTable(spans, cleans=False) if cleans else None
        self._rows: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._table = Growing(ROW)

    def __len__(self) -> int:
        return len(self._rows)

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of texts."""
        return self._numbered(*self._tokens_of(texts))

    def _tokens_of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of texts, joined, as numbers of the spans' table, and the texts' bounds in them."""
        pieces = cut([self._prepared(text) for text in texts])
        facts = self._facts(pieces.distinct)
        odd = self._odd_texts(pieces, facts)
        starts, lengths = facts["start"].copy()[pieces.index], facts["length"].copy()[pieces.index]
        self._pad_whitespace(pieces, facts, starts, lengths)
        sums = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        tokens, bounds = self._spans.flat.values[ranges(starts, lengths)], sums[pieces.bounds]
        if len(odd):
            parts = np.split(tokens, bounds[1:-1])
            for number, part in zip(odd, self._tokens_of_odd([texts[number] for number in odd]), strict=True):
                parts[number] = part
            tokens, bounds = np.concatenate(parts), np.cumsum([0, *map(len, parts)])
        return tokens, bounds

    def _prepared(self, text: str) -> str:
        """Run what looks at a whole text: fix_html, and the stripping that ends the rules."""
        return fix_html(text).strip() if self._cleans else text

    def _facts(self, distinct: list[str]) -> np.ndarray:
        """Return the rows of pieces; those that are new are added."""
        rows = np.fromiter(map(self._rows.get, distinct, repeat(-1)), np.int64, len(distinct))
        places = np.flatnonzero(rows < 0)
        if len(places):
            new = [distinct[place] for place in places.tolist()]
            is_blank = np.array([piece[0].isspace() for piece in new])
            words = [new[place] for place in np.flatnonzero(~is_blank).tolist()]
            numbers = range(len(self._table), len(self._table) + len(words))
            self._add_words(words)
            self._rows.update(zip(words, numbers, strict=True))
            rows[places[~is_blank]] = numbers
            rows[places[is_blank]] = [self._add_blank_piece(new[place]) for place in np.flatnonzero(is_blank).tolist()]
        return self._table.values[rows]

    def _add_words(self, pieces: list[str]) -> None:
        """Clean and cut words, all in one text with a line for each: to rules and spaCy they are words of a text."""
        if not pieces:
            return
        words = [piece.removesuffix(" ") for piece in pieces]
        joined = "\n".join(words)
        lines = repeats = words
        if self._cleans:
            repeats = replace_rep(joined).split("\n")
            lines = clean_words("\n".join(repeats)).split("\n")
        cleaned = [line.strip(" ") for line in lines]
        spans = self._spans.cut_lines(cleaned)
        rows = np.zeros(len(spans), ROW)
        for name in SPAN.names or ():
            rows[name] = spans[name]
        rows["is_padded"] = [line[0] == " " for line in lines]
        if self._cleans:
            self._note_repetition(rows, words, repeats)
        self._table.append(rows)

    def _note_repetition(self, rows: np.ndarray, words: list[str], repeats: list[str]) -> None:
        """Note of each word what decides whether it repeats its neighbour."""
        lead, whole = [0] * len(words), [0] * len(words)
        for place, (word, marked) in enumerate(zip(words, repeats, strict=True)):
            if word == marked and word.isalnum():
                lead[place] = whole[place] = self._word(word)
                continue
            parts = marked.split()
            match, last = LEADING_WORD.match(parts[0]), LEADING_WORD.fullmatch(parts[-1])
            lead[place] = self._word(match[0]) if match else 0
            whole[place] = self._word(last[0]) if last else 0
            if len(parts) > 1:
                rows["is_several"][place] = True
                rows["is_odd"][place] = PATTERNS["replace_wrep"].search(marked) is not None
        rows["lead"], rows["whole"] = lead, whole

    def _add_blank_piece(self, piece: str) -> int:
        """Add whitespace: without the space that belongs to the word before it, spaCy makes tokens of it."""
        blank = piece
        if self._cleans:
            blank = PATTERNS["rm_useless_spaces"].sub(" ", piece.lstrip(" "))
        row = self._add_blank(blank)
        padded = row if not blank or blank.endswith(" ") else self._add_blank(blank + " ")
        self._table.values["padded"][row] = padded
        self._rows[piece] = row
        return row

    def _add_blank(self, blank: str) -> int:
        tokens = self._spans.cut_text(blank)
        row = np.zeros(1, ROW)
        row["start"], row["length"], row["is_blank"] = self._spans.add_tokens(tokens), len(tokens), True
        self._table.append(row)
        return len(self._table) - 1

    def _odd_texts(self, pieces: Pieces, facts: np.ndarray) -> np.ndarray:
        """Return the numbers of texts in which a word must be cut together with its neighbour."""
        words = np.flatnonzero(np.logical_not(facts["is_blank"])[pieces.index])
        index = pieces.index[words]
        # Columns of a table of rows are far apart in memory: copied together they are gathered faster.
        whole = np.where(facts["whole"] == 0, -1, facts["whole"])
        repeats = whole[index[:-1]] == facts["lead"].copy()[index[1:]]
        lefts = np.flatnonzero(repeats)
        follows = np.append(repeats, False)[lefts + 1]
        follows |= facts["is_several"][index[lefts]] | facts["is_several"][index[lefts + 1]]
        odd = [words[lefts[follows]], words[np.flatnonzero(facts["is_odd"].copy()[index])]]
        if self._spans.cases.are_joined.any():
            lefts = np.arange(len(index) - 1)
        else:
            holding = np.flatnonzero(facts["holds_case"].copy()[index])
            lefts = np.concatenate([holding - 1, holding])
            lefts = lefts[(lefts >= 0) & (lefts < len(index) - 1)]
        odd.append(words[lefts[self._spans.meet(facts[index[lefts]], facts[index[lefts + 1]])]])
        return np.unique(np.searchsorted(pieces.bounds, np.concatenate(odd), side="right") - 1)

    def _pad_whitespace(self, pieces: Pieces, facts: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Give whitespace in front of a word that a rule set apart ("\\n/") the tokens it has with one space more."""
        blank = (facts["is_blank"] & (facts["length"] > 0))[pieces.index]
        places = np.flatnonzero(blank[:-1]) if len(blank) else np.empty(0, np.int64)
        places = places[facts["is_padded"][pieces.index[places + 1]]]
        padded = self._table.values[facts["padded"][pieces.index[places]]]
        starts[places], lengths[places] = padded["start"], padded["length"]

    def _tokens_of_odd(self, texts: list[str]) -> list[np.ndarray]:
        """Return the tokens of texts in which words must be cut together."""
        if self._cleaned is None:
            return [self._spans.cut_text(text) for text in texts]
        tokens, bounds = self._cleaned._tokens_of([clean(text, FASTAI_V2) for text in texts])
        return np.split(tokens, bounds[1:-1])

    def _numbered(self, tokens: np.ndarray, bounds: np.ndarray) -> Tokenized:
        """Number the tokens anew, in the order of their first occurrence here."""
        places = np.arange(len(tokens))
        first = np.empty(len(self._spans.tokens), np.int64)
        # Where a token occurs several times, the assignment that comes last, its first place, stays.
        first[tokens[::-1]] = places[::-1]
        chosen = tokens[first[tokens] == places]
        number = np.empty(len(self._spans.tokens), np.uint32)
        number[chosen] = np.arange(len(chosen))
        return Tokenized([self._spans.tokens[token] for token in chosen.tolist()], number[tokens], bounds)

    def _word(self, word: str) -> int:
        return self._words.setdefault(word, len(self._words) + 1)
