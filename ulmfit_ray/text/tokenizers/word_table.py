"""Tokens of many texts at once: each distinct word is cleaned and cut once, and its tokens are remembered.

    texts -> pieces (pieces.py) -> rows of the table -> tokens of the rows, gathered

The result is the plain tokenizer's, by construction: spaCy cuts each word by itself, and so do the rules but for two.
What looks across words is `fix_html`, which runs over whole texts, and the places that neighbours.py describes: a text
that holds one is cleaned, or cut, as a whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
from spacy.symbols import ORTH

from ulmfit_ray.text.rules import PATTERNS, clean, clean_words, fix_html, replace_rep
from ulmfit_ray.text.tokenizers.kinds import Tokenized
from ulmfit_ray.text.tokenizers.neighbours import LEADING_WORD, SpecialCases
from ulmfit_ray.text.tokenizers.pieces import Pieces, cut

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
    """Words and whitespace with their tokens, for one spaCy tokenizer and one preset of rules."""

    def __init__(self, spacy_tokenizer: Any, rules: str) -> None:
        self._spacy, self._rules = spacy_tokenizer, rules
        # Texts in which words repeat are cleaned as a whole; then their words are cut one by one again.
        self._cleaned = WordTable(spacy_tokenizer, "none") if rules != "none" else None
        self._cases = SpecialCases(spacy_tokenizer)
        # Tokens are numbered from 1 on, those that stand in special cases first.
        self._tokens: list[str] = [""]
        self._numbers: dict[str, int] = {}
        self._of_hash: dict[int, int] = {}
        for token in self._cases.tokens:
            self._number(token)
        self._rows: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._spans: dict[str, int] = {}
        self._table, self._span_table, self._flat = Growing(ROW), Growing(SPAN), Growing(np.int32)

    def __len__(self) -> int:
        return len(self._rows)

    def tokenize(self, texts: Sequence[str]) -> Tokenized:
        """Return the tokens of texts."""
        pieces = cut([self._prepared(text) for text in texts])
        facts = self._facts(pieces.distinct)
        odd = self._odd_texts(pieces, facts)
        starts, lengths = facts["start"].copy()[pieces.index], facts["length"].copy()[pieces.index]
        self._pad_whitespace(pieces, facts, starts, lengths)
        tokens, bounds = self._gathered(pieces.bounds, starts, lengths)
        if len(odd):
            parts = np.split(tokens, bounds[1:-1])
            for number, part in zip(odd, self._tokens_of_odd([texts[number] for number in odd]), strict=True):
                parts[number] = part
            tokens, bounds = np.concatenate(parts), np.cumsum([0, *map(len, parts)])
        return self._numbered(tokens, bounds)

    def _prepared(self, text: str) -> str:
        """Run what looks at a whole text: fix_html, and the stripping that ends the rules."""
        return fix_html(text).strip() if self._rules == "fastai-v2" else text

    def _facts(self, distinct: list[str]) -> np.ndarray:
        """Return the rows of pieces; those that are new are added."""
        rows = np.fromiter(map(self._rows.get, distinct, repeat(-1)), np.int64, len(distinct))
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
        rows = self._cut_lines(cleaned)
        rows["is_padded"] = [line[0] == " " for line in lines]
        if self._rules == "fastai-v2":
            self._note_repetition(rows, words, repeats)
        self._table.append(rows)

    def _cut_lines(self, lines: list[str]) -> np.ndarray:
        """Return rows for cleaned pieces, each one span or several with a space between."""
        flat = " ".join(lines).split(" ")
        widths = np.array([line.count(" ") + 1 for line in lines])
        new = [span for span in dict.fromkeys(flat) if span not in self._spans]
        if new:
            self._add_spans(new)
        spans = self._span_table.values[np.fromiter(map(self._spans.__getitem__, flat), np.int64, len(flat))]
        ends = np.cumsum(widths)
        starts = ends - widths
        rows = np.zeros(len(lines), ROW)
        for name in SPAN.names or ():
            rows[name] = spans[name][starts]
        rows["last"] = spans["last"][ends - 1]
        several = np.flatnonzero(widths > 1)
        rows["length"] = np.add.reduceat(spans["length"], starts)
        rows["holds_case"] = np.logical_or.reduceat(spans["holds_case"], starts)
        chosen = np.repeat(widths > 1, widths)
        tokens = self._flat.values[ranges(spans["start"][chosen], spans["length"][chosen])]
        lengths = rows["length"][several]
        rows["start"][several] = len(self._flat) + np.cumsum(lengths) - lengths
        self._flat.append(tokens)
        for place in self._meeting(spans, starts, several):
            self._cut_whole(rows, place, lines[place])
        return rows

    def _meeting(self, spans: np.ndarray, starts: np.ndarray, several: np.ndarray) -> np.ndarray:
        """Return which pieces of several spans must be cut as a whole; see SpecialCases."""
        meet = np.flatnonzero(self._meet(spans[:-1], spans[1:]))
        return np.intersect1d(np.searchsorted(starts, meet, side="right") - 1, several)

    def _add_spans(self, spans: list[str]) -> None:
        """Cut new spans, each by itself. Most are one token; spaCy gets the others."""
        self._spans.update(zip(spans, range(len(self._spans), len(self._spans) + len(spans)), strict=True))
        known = [self._cases.known_tokens(span) for span in spans]
        lengths = np.array([len(tokens) for tokens in known])
        tokens = np.array([self._number(token) for token in chain.from_iterable(known)], np.int32)
        is_known = lengths > 0
        ends = np.cumsum(lengths)[is_known]
        rows = np.zeros(len(spans), SPAN)
        rows["length"] = lengths
        rows["start"][is_known] = len(self._flat) + ends - lengths[is_known]
        rows["first"][is_known], rows["last"][is_known] = tokens[ends - lengths[is_known]], tokens[ends - 1]
        self._flat.append(tokens)
        others = [span for span, tokens_of_it in zip(spans, known, strict=True) if not tokens_of_it]
        if others:
            rows[~is_known] = self._cut_spans(others)
        self._span_table.append(rows)

    def _cut_spans(self, spans: list[str]) -> np.ndarray:
        """Cut spans with spaCy, all in one text with a line for each."""
        tokens = self._numbers_of(self._cases.words_alone("\n".join(spans)))
        ends = np.append(np.flatnonzero(tokens == self._number("\n")), len(tokens))
        assert len(ends) == len(spans), "spaCy joined lines"
        rows = np.zeros(len(spans), SPAN)
        starts = np.concatenate([[0], ends[:-1] + 1])
        rows["start"], rows["length"] = starts + len(self._flat), ends - starts
        rows["first"], rows["last"] = tokens[starts], tokens[ends - 1]
        self._flat.append(tokens)
        classes = self._classes(tokens)
        suspect = self._cases.is_one[classes]
        suspect[:-1] |= self._cases.are_neighbours[classes[:-1], classes[1:]]
        for place in np.unique(np.searchsorted(ends, np.flatnonzero(suspect))):
            self._cut_whole(rows, place, spans[place])
        return rows

    def _cut_whole(self, rows: np.ndarray, place: int, text: str) -> None:
        """Cut text with special cases looked for in the whole of it; change the row if that gives other tokens."""
        tokens = self._numbers_of(self._spacy(text))
        start, length = rows["start"][place], rows["length"][place]
        if not np.array_equal(tokens, self._flat.values[start : start + length]):
            rows["start"][place], rows["length"][place] = len(self._flat), len(tokens)
            rows["holds_case"][place] = True
            self._flat.append(tokens)

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
        if self._cases.are_joined.any():
            lefts = np.arange(len(index) - 1)
        else:
            holding = np.flatnonzero(facts["holds_case"].copy()[index])
            lefts = np.concatenate([holding - 1, holding])
            lefts = lefts[(lefts >= 0) & (lefts < len(index) - 1)]
        odd.append(words[lefts[self._meet(facts[index[lefts]], facts[index[lefts + 1]])]])
        return np.unique(np.searchsorted(pieces.bounds, np.concatenate(odd), side="right") - 1)

    def _meet(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Tell of neighbours, given as rows or spans, which must be cut together; see SpecialCases."""
        classes = self._classes(left["last"]), self._classes(right["first"])
        holds = left["holds_case"] | right["holds_case"]
        meet: np.ndarray = (self._cases.are_neighbours[classes] & holds) | self._cases.are_joined[classes]
        return meet

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

    def _gathered(self, bounds: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of all pieces, joined, and the texts' places in them."""
        sums = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return self._flat.values[ranges(starts, lengths)], sums[bounds]

    def _tokens_of_odd(self, texts: list[str]) -> Iterator[np.ndarray]:
        """Yield the tokens of texts in which words must be cut together."""
        if self._cleaned is None:
            for text in texts:
                yield self._numbers_of(self._spacy(text))
            return
        found = self._cleaned.tokenize([clean(text, self._rules) for text in texts])
        numbers = np.array([self._number(token) for token in found.types], np.int32)
        yield from np.split(numbers[found.ids], found.bounds[1:-1])

    def _numbered(self, tokens: np.ndarray, bounds: np.ndarray) -> Tokenized:
        """Number the tokens anew, in the order of their first occurrence here."""
        places = np.arange(len(tokens))
        first = np.empty(len(self._tokens), np.int64)
        # Where a token occurs several times, the assignment that comes last, its first place, stays.
        first[tokens[::-1]] = places[::-1]
        chosen = tokens[first[tokens] == places]
        number = np.empty(len(self._tokens), np.uint32)
        number[chosen] = np.arange(len(chosen))
        return Tokenized([self._tokens[token] for token in chosen.tolist()], number[tokens], bounds)

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


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the indices of ranges, joined.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    places = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    places += np.arange(len(places))
    return places


def spelling(spacy_tokenizer: Any, token_hash: int) -> str:
    """Return the token behind a hash; spaces inside a token become the visible "\\u2581", as in fastai."""
    spelled: str = spacy_tokenizer.vocab.strings[token_hash].replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")
    return spelled
