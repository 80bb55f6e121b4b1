"""Texts cut into words and the whitespace between them, all texts of a block at once, with array operations.

A piece is what spaCy looks at by itself: a word (a run of characters that are not whitespace) with the one space
behind it, if there is one; or what is left of the whitespace between two words. So "a  b\\n\\nc" has the pieces
"a ", " ", "b", "\\n\\n", "c". Whitespace is what `str.isspace` calls so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

SPACE = ord(" ")
ASCII_SPACES = np.array([chr(code).isspace() for code in range(128)])
TWO_BYTES = ("\x85", "\xa0")
THREE_BYTES = ("\u1680", *map(chr, range(0x2000, 0x200B)), "\u2028", "\u2029", "\u202f", "\u205f", "\u3000")
"""Whitespace outside ASCII, by its length in UTF-8; a test compares this with `str.isspace` for every character."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of some texts, joined: text i has the pieces `index[bounds[i]:bounds[i + 1]]`."""

    distinct: list[str]
    """In the order of their first occurrence."""
    index: np.ndarray
    """int32 (pieces,): which of `distinct` stands here."""
    bounds: np.ndarray
    """int64 (texts + 1,)"""


def cut(texts: Sequence[str]) -> Pieces:
    """Return the pieces of texts.

    Raises:
        UnicodeEncodeError: a text holds half a surrogate pair.
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)])
    joined = b"".join(encoded)
    offsets = _begins(np.frombuffer(joined, np.uint8), ends)
    if not len(offsets):
        return Pieces([], np.empty(0, np.int32), np.zeros(len(texts) + 1, np.int64))
    places = np.append(offsets, len(joined)).astype(np.int32)
    buffers = [None, pa.py_buffer(places), pa.py_buffer(joined)]
    pieces = pa.Array.from_buffers(pa.utf8(), len(offsets), buffers).dictionary_encode()
    index = pieces.indices.to_numpy()
    return Pieces(pieces.dictionary.to_pylist(), index, np.searchsorted(offsets, ends).astype(np.int64))


def _begins(data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the byte offsets at which a piece begins; no piece reaches from one text into the next."""
    starts = ends[:-1][np.diff(ends) > 0]
    spaces = _spaces(data)
    is_behind_word = data == SPACE
    is_behind_word[1:] &= ~spaces[:-1]
    is_behind_word[starts] = False
    blank = spaces & ~is_behind_word
    begins = np.ones(len(data), bool)
    begins[1:] = is_behind_word[:-1] | (blank[1:] != blank[:-1])
    begins[starts] = True
    return np.flatnonzero(begins)


def _spaces(data: np.ndarray) -> np.ndarray:
    """Return for each byte of UTF-8 text whether it belongs to a whitespace character."""
    spaces = data == SPACE
    controls = np.flatnonzero(data < SPACE)
    spaces[controls] = ASCII_SPACES[data[controls]]
    leads = np.flatnonzero(data >= 0xC2)
    for characters in (TWO_BYTES, THREE_BYTES) if len(leads) else ():
        codes = np.array([list(character.encode()) for character in characters], np.uint8)
        found = leads[np.isin(data[leads], codes[:, 0])]
        for place in range(1, codes.shape[1]):
            found = found[np.isin(data[found + place], codes[:, place])]
        found = found[(data[found + np.arange(codes.shape[1])[:, None]].T[:, None] == codes).all(2).any(1)]
        for place in range(codes.shape[1]):
            spaces[found + place] = True
    return spaces
