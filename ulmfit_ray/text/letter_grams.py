"""What a word is made of: its runs of three to five letters, which words of one stem share (Bojanowski et al. 2017).

A run's number is a hash, so there is no list of them: a word outside the vocabulary has runs like any other.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.text.rules import SPECIAL_TOKENS

LENGTHS = (3, 4, 5)
LONGEST_WORD = 64
"""Of a longer word only so many letters count: a web address is no word."""


def letter_grams(word: str) -> Iterator[str]:
    """Yield the runs of letters of a word between "<" and ">", the marks of its ends; of a mark such as xxmaj none."""
    if word in SPECIAL_TOKENS:
        return
    letters = f"<{word[:LONGEST_WORD]}>"
    for length in LENGTHS:
        for start in range(len(letters) - length + 1):
            yield letters[start : start + length]


def gram_rows(word: str, num_rows: int) -> list[int]:
    """Return the numbers of a word's runs: CRC-32 of their UTF-8, modulo `num_rows`."""
    return [zlib.crc32(gram.encode()) % num_rows for gram in letter_grams(word)]


@dataclass(frozen=True, slots=True)
class Spelling:
    """The runs of many words: those of word i are rows[offsets[i]:offsets[i + 1]]."""

    offsets: np.ndarray
    """int64 (V + 1,)"""
    rows: np.ndarray
    """int64"""

    @classmethod
    def of(cls, words: Iterable[str], num_rows: int) -> "Spelling":
        """Spell words; `num_rows` is the number of vectors that runs share."""
        rows = [gram_rows(word, num_rows) for word in words]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(offsets, np.fromiter((row for own in rows for row in own), np.int64, int(offsets[-1])))
