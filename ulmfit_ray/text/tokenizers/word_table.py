"""Tokens of many texts at once: each distinct word is cleaned and cut once, and its tokens are remembered.

    texts -> pieces (pieces.py) -> rows of the table -> tokens of the rows, gathered

The result is the plain tokenizer's, by construction: spaCy cuts each word by itself, and so do the rules but for two.
What looks across words is `fix_html`, which runs over whole texts, and the places that neighbours.py describes: texts
that hold one are given to the plain tokenizer.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from spacy.symbols import ORTH

from ulmfit_ray.text.rules import PATTERNS, clean_words, fix_html, replace_rep
from ulmfit_ray.text.tokenizers.kinds import Tokenized
from ulmfit_ray.text.tokenizers.neighbours import LEADING_WORD, SpecialCases
from ulmfit_ray.text.tokenizers.pieces import Pieces, cut

ROW = np.dtype(
    [
        ("start", np.int64),  # the row's tokens are tokens[start : start + length]
        ("length", np.int32),
        ("lead", np.int32),  # number of the word it begins with; 0: none
        ("whole", np.int32),  # number of the last word in it, if that ends with it; 0: none
        ("first", np.int32),  # its first and last token, before special cases were looked for
        ("last", np.int32),
        ("padded", np.int32),  # of whitespace: the row with one space more behind it
        ("is_blank", np.bool_),  # whitespace
        ("is_padded", np.bool_),  # a rule puts a space in front of it
        ("is_several", np.bool_),  # a rule cuts it before words are looked at for repetition
        ("is_odd", np.bool_),  # always given to the plain tokenizer
        ("holds_case", np.bool_),  # a special case was found in it
    ]
)
MAX_ROWS = 1_000_000
"""The table starts over when it has so many (about 500 MB with what spaCy keeps); filling it again takes seconds."""


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


class WordTable:
    """Words and whitespace with their tokens, for one tokenizer.

    `plain` tokenizes one text without the table, and is what the table must agree with.
    """

    def __init__(self, spacy_tokenizer: Any, rules: str, plain: Callable[[str], list[str]]) -> None:
        self._spacy, self._rules, self._plain = spacy_tokenizer, rules, plain
        self._cases = SpecialCases(spacy_tokenizer)
        # Tokens are numbered from 1 on, those that stand in special cases first.
        self._tokens: list[str] = [""]
        self._numbers: dict[str, int] = {}
        self._of_hash: dict[int, int] = {}
        for token in self._cases.tokens:
            self._number(token)
        self._rows: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._table, self._flat = Growing(ROW), Growing(np.int32)

    def __len__(self) -> int:
        return len(self._rows)

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of texts."""
        odd: set[int] = set()
        prepared = [self._prepared(text) for text in texts]
        try:
            pieces = cut(prepared)
        except UnicodeEncodeError:
            odd = {number for number, text in enumerate(prepared) if not _is_valid(text)}
            pieces = cut(["" if number in odd else text for number, text in enumerate(prepared)])
        facts = self._facts(pieces.distinct)
        odd |= self._odd_texts(pieces, facts)
        starts, lengths = facts["start"][pieces.index], facts["length"][pieces.index]
        self._pad_whitespace(pieces, facts, starts, lengths)
        return self._gathered(texts, pieces.bounds, starts, lengths, sorted(odd))

    def _prepared(self, text: str) -> str:
        """Run what looks at a whole text: fix_html, and the stripping that ends the rules."""
        return fix_html(text).strip() if self._rules == "fastai-v2" else text

    def _facts(self, distinct: list[str]) -> np.ndarray:
        """Return the rows of pieces; those that are new are added."""
        found = [self._rows.get(piece, -1) for piece in distinct]
        rows = np.array(found, np.int64)
        new = [distinct[place] for place in np.flatnonzero(rows < 0)]
        if new:
            first = len(self._table)
            blanks = [piece for piece in new if piece[0].isspace()]
            words = [piece for piece in new if not piece[0].isspace()]
            self._add_words(words)
            self._rows.update(zip(words, range(first, first + len(words)), strict=True))
            self._add_blanks(blanks)
            rows = np.array([self._rows[piece] for piece in distinct], np.int64)
        return self._table.values[rows]

    def _add_words(self, pieces: list[str]) -> None:
        """Clean and cut words, all in one text with a line for each: to rules and spaCy they are words of a text."""
        if not pieces:
            return
        words = [piece.removesuffix(" ") for piece in pieces]
        joined = "\n".join(words)
        lines = repeats = words
        if self._rules == "fastai-v2":
            repeats = replace_rep(joined).split("\n")
            lines = clean_words("\n".join(repeats)).split("\n")
        cleaned = [line.strip(" ") for line in lines]
        distinct = list(dict.fromkeys(cleaned))
        numbers = {word: number for number, word in enumerate(distinct)}
        rows = self._cut_words(distinct)[[numbers[word] for word in cleaned]]
        rows["is_padded"] = [line[0] == " " for line in lines]
        if self._rules == "fastai-v2":
            self._note_repetition(rows, words, repeats)
        self._table.append(rows)

    def _cut_words(self, words: list[str]) -> np.ndarray:
        """Cut cleaned words, each by itself, and return what their rows have of it."""
        tokens = self._numbers_of(self._cases.words_alone("\n".join(words)))
        ends = np.append(np.flatnonzero(tokens == self._number("\n")), len(tokens))
        assert len(ends) == len(words), "spaCy joined lines"
        rows = np.zeros(len(words), ROW)
        starts = np.concatenate([[0], ends[:-1] + 1])
        rows["start"], rows["length"] = starts + len(self._flat), ends - starts
        rows["first"], rows["last"] = tokens[starts], tokens[ends - 1]
        self._flat.append(tokens)
        classes = self._classes(tokens)
        suspect = self._cases.is_one[classes]
        suspect[:-1] |= self._cases.are_neighbours[classes[:-1], classes[1:]]
        for place in np.unique(np.searchsorted(ends, np.flatnonzero(suspect))):
            whole = self._numbers_of(self._spacy(words[place]))
            if not np.array_equal(whole, tokens[starts[place] : ends[place]]):
                rows["start"][place], rows["length"][place] = len(self._flat), len(whole)
                rows["holds_case"][place] = True
                self._flat.append(whole)
        return rows

    def _note_repetition(self, rows: np.ndarray, words: list[str], repeats: list[str]) -> None:
        """Note of each word what decides whether it repeats its neighbour."""
        lead, whole = [0] * len(words), [0] * len(words)
        for place, (word, repeat) in enumerate(zip(words, repeats, strict=True)):
            if word == repeat and word.isalnum():
                lead[place] = whole[place] = self._word(word)
                continue
            parts = repeat.split()
            match, last = LEADING_WORD.match(parts[0]), LEADING_WORD.fullmatch(parts[-1])
            lead[place] = self._word(match[0]) if match else 0
            whole[place] = self._word(last[0]) if last else 0
            if len(parts) > 1:
                rows["is_several"][place] = True
                rows["is_odd"][place] = PATTERNS["replace_wrep"].search(repeat) is not None
        rows["lead"], rows["whole"] = lead, whole

    def _add_blanks(self, pieces: Iterable[str]) -> None:
        """Add whitespace: without the space that belongs to the word before it, spaCy makes tokens of it."""
        for piece in pieces:
            blank = piece
            if self._rules == "fastai-v2":
                blank = PATTERNS["rm_useless_spaces"].sub(" ", piece.lstrip(" "))
            row = self._add_blank(blank)
            padded = row if not blank or blank.endswith(" ") else self._add_blank(blank + " ")
            self._table.values["padded"][row] = padded
            self._rows[piece] = row

    def _add_blank(self, blank: str) -> int:
        tokens = self._numbers_of(self._spacy(blank))
        row = np.zeros(1, ROW)
        row["start"], row["length"], row["is_blank"] = len(self._flat), len(tokens), True
        self._table.append(row)
        self._flat.append(tokens)
        return len(self._table) - 1

    def _odd_texts(self, pieces: Pieces, facts: np.ndarray) -> set[int]:
        """Return the numbers of texts in which a word must be cut together with its neighbour."""
        words = np.flatnonzero(~facts["is_blank"][pieces.index])
        index = pieces.index[words]
        repeats = facts["whole"][index[:-1]] == facts["lead"][index[1:]]
        repeats[facts["lead"][index[1:]] == 0] = False
        several = facts["is_several"][index]
        follows = several[:-1] | several[1:]
        follows[:-1] |= repeats[1:]
        odd = [words[:-1][repeats & follows], words[facts["is_odd"][index]]]
        holding = np.flatnonzero(facts["holds_case"][index])
        lefts = np.concatenate([holding - 1, holding])
        lefts = lefts[(lefts >= 0) & (lefts < len(index) - 1)]
        last, first = (self._classes(facts[name]) for name in ("last", "first"))
        meet = self._cases.are_neighbours[last[index[lefts]], first[index[lefts + 1]]]
        odd.append(words[lefts[meet]])
        return set((np.searchsorted(pieces.bounds, np.concatenate(odd), side="right") - 1).tolist())

    def _classes(self, tokens: np.ndarray) -> np.ndarray:
        """Return the class of each token; see SpecialCases."""
        return np.where(tokens <= len(self._cases.tokens), tokens, 0)

    def _pad_whitespace(self, pieces: Pieces, facts: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Give whitespace in front of a word that a rule set apart ("\\n/") the tokens it has with one space more."""
        blank = (facts["is_blank"] & (facts["length"] > 0))[pieces.index]
        places = np.flatnonzero(blank[:-1]) if len(blank) else np.empty(0, np.int64)
        places = places[facts["is_padded"][pieces.index[places + 1]]]
        padded = self._table.values[facts["padded"][pieces.index[places]]]
        starts[places], lengths[places] = padded["start"], padded["length"]

    def _gathered(
        self, texts: Sequence[str], bounds: np.ndarray, starts: np.ndarray, lengths: np.ndarray, odd: Sequence[int]
    ) -> Tokenized:
        """Return the tokens of all pieces; the texts in `odd` are tokenized by the plain tokenizer."""
        sums = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        places = np.repeat(starts - sums[:-1], lengths)
        places += np.arange(len(places))
        tokens, ends = self._flat.values[places], sums[bounds]
        if odd:
            parts = np.split(tokens, ends[1:-1])
            for number in odd:
                parts[number] = np.array([self._number(token) for token in self._plain(texts[number])], np.int32)
            tokens, ends = np.concatenate(parts), np.cumsum([0, *map(len, parts)])
        return self._numbered(tokens, ends)

    def _numbered(self, tokens: np.ndarray, bounds: np.ndarray) -> Tokenized:
        """Number the tokens anew, in the order of their first occurrence here."""
        places = np.arange(len(tokens))
        first = np.empty(len(self._tokens), np.int64)
        # Where a token occurs several times, the assignment that comes last, its first place, stays.
        first[tokens[::-1]] = places[::-1]
        chosen = tokens[first[tokens] == places]
        number = np.empty(len(self._tokens), np.uint32)
        number[chosen] = np.arange(len(chosen))
        return Tokenized([self._tokens[token] for token in chosen], number[tokens], bounds)

    def _numbers_of(self, doc: Any) -> np.ndarray:
        """Return this table's numbers of a spaCy document's tokens."""
        hashes, inverse = np.unique(doc.to_array(ORTH), return_inverse=True)
        numbers = [self._of_hash.get(token_hash) or self._number_of_hash(token_hash) for token_hash in hashes.tolist()]
        return np.array(numbers, np.int32)[inverse]

    def _number_of_hash(self, token_hash: int) -> int:
        number = self._of_hash[token_hash] = self._number(spelling(self._spacy, token_hash))
        return number

    def _number(self, token: str) -> int:
        number = self._numbers.get(token)
        if number is None:
            number = self._numbers[token] = len(self._tokens)
            self._tokens.append(token)
        return number

    def _word(self, word: str) -> int:
        return self._words.setdefault(word, len(self._words) + 1)


def spelling(spacy_tokenizer: Any, token_hash: int) -> str:
    """Return the token behind a hash; spaces inside a token become the visible "\\u2581", as in fastai."""
    spelled: str = spacy_tokenizer.vocab.strings[token_hash].replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")
    return spelled


def _is_valid(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
