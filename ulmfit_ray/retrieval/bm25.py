"""BM25 from token ids: bm25s, which computes the score of every word in every document when the index is made.

The score is Lucene's: of each word of the query, idf = ln(1 + (N - df + 0.5) / (df + 0.5)) times
tf / (tf + k1 (1 - b + b length / mean length)). Stop words are left out by who gives the documents. N documents.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Shards = Iterable[tuple[np.ndarray, np.ndarray]]
"""Token ids as (values, offsets): document i of a shard is values[offsets[i]:offsets[i + 1]]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BM25Options:
    """How words are scored."""

    k1: float = 0.9
    """How much a word counts that is repeated in a document: with 0 it counts once."""
    b: float = 0.4
    """How much longer documents are held back: from 0 (not at all) to 1."""
    stop_words: bool = False
    """Leave out stop words of the language, punctuation and marks."""

    def __post_init__(self) -> None:
        if self.k1 < 0:
            raise ValueError(f"bm25.k1 must not be negative, as {self.k1} is")
        if not 0 <= self.b <= 1:
            raise ValueError(f"bm25.b must lie between 0 and 1, not {self.b}")


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What bm25s takes for a tokenized corpus: it goes through `ids` several times, a document after the other."""

    shards: Callable[[], Shards]
    num_documents: int
    vocab: dict[int, int]

    @property
    def ids(self) -> "_Corpus":
        return self

    def __len__(self) -> int:
        return self.num_documents

    def __iter__(self) -> Iterator[list[int]]:
        # Python's own numbers: they are counted twice as fast as numpy's.
        return (values[start:stop].tolist() for values, offsets in self.shards() for start, stop in pairwise(offsets))


class BM25Index:
    """The scores of all words in all documents."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def of(cls, shards: Callable[[], Shards], num_documents: int, vocab_size: int, options: BM25Options) -> "BM25Index":
        """Index documents; `shards` begins anew each time it is called, as it is three times.

        While the index is made, it takes 50 bytes of memory for each distinct word of each document; the tokens
        themselves are not held. A million abstracts have a hundred million.
        """
        index = _bm25s().BM25(k1=options.k1, b=options.b, method="lucene")
        corpus = _Corpus(shards, num_documents, {word: word for word in range(vocab_size)})
        index.index(corpus, create_empty_token=False, show_progress=False)
        return cls(index)

    def save(self, place: Path) -> None:
        """Write the index into a new local folder; a distinct word of a document takes 8 bytes."""
        self._index.save(place, show_progress=False)

    @classmethod
    def load(cls, place: Path) -> "BM25Index":
        """Open a saved index, memory-mapped: what a query needs of it is read when it is asked."""
        return cls(_bm25s().BM25.load(place, mmap=True, load_vocab=False, show_progress=False))

    def scores(self, query: np.ndarray) -> np.ndarray:
        """Return the scores (N,), float32, for a query's token ids; a word that stands there twice counts twice."""
        scores: np.ndarray = self._index.get_scores_from_ids(query)
        return scores

    def all_scores(self, queries: Sequence[np.ndarray]) -> np.ndarray:
        """Return the scores (Q, N) for several queries."""
        return np.stack([self.scores(query) for query in queries])


def _bm25s() -> ModuleType:
    # It imports scipy where that is installed, a fifth of a second that --help can do without.
    import bm25s

    # It sets itself to DEBUG, and a handler of the root logger would show what it says.
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s
