"""Exact nearest documents by cosine: numpy, block by block, in constant memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

QUERIES_AT_ONCE, ROWS_AT_ONCE = 1024, 8192
"""So many scores are held at the same time: 32 MB."""


@dataclass(frozen=True, slots=True)
class Hits:
    """The best documents of each query: row numbers over the whole corpus, and their scores, (queries, k).

    Row -1 stands where an index found fewer than k.
    """

    rows: np.ndarray
    scores: np.ndarray


def normalize_rows(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors scaled to length 1; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)


def best(scores: np.ndarray, k: int) -> Hits:
    """Return the k best documents of each query from a score matrix (Q, N); ties go to the first."""
    rows = np.empty((len(scores), min(k, scores.shape[1])), np.int64)
    for number, row in enumerate(scores):
        rows[number] = _first_best(row, k)
    return Hits(rows, np.take_along_axis(scores, rows, 1))


def _first_best(scores: np.ndarray, k: int) -> np.ndarray:
    """Return where the k best of the scores (N,) stand; only those that reach the last of them are sorted."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    place = len(scores) - k
    reaching = np.flatnonzero(scores >= np.partition(scores, place)[place])
    return reaching[np.argsort(-scores[reaching], kind="stable")[:k]]


def nearest(queries: np.ndarray, shards: Iterable[np.ndarray], k: int) -> Hits:
    """Return the k nearest documents of each query (Q, D) among shards of vectors (N, D); ties go to the first.

    Memory: a shard, the hits, and the scores of `QUERIES_AT_ONCE` queries against `ROWS_AT_ONCE` documents.

    Raises:
        ValueError: queries and documents have different widths.
    """
    queries = normalize_rows(queries)
    parts = [queries[start : start + QUERIES_AT_ONCE] for start in range(0, len(queries), QUERIES_AT_ONCE)]
    found = [Hits(np.empty((len(part), 0), np.int64), np.empty((len(part), 0), np.float32)) for part in parts]
    first = 0
    for vectors in _blocks(shards):
        if vectors.shape[1] != queries.shape[1]:
            raise ValueError(f"queries have {queries.shape[1]} numbers, documents {vectors.shape[1]}: use one model")
        documents = normalize_rows(vectors).T
        found = [_better(hits, part @ documents, first, k) for hits, part in zip(found, parts, strict=True)]
        first += len(vectors)
    return Hits(np.concatenate([hits.rows for hits in found]), np.concatenate([hits.scores for hits in found]))


def _blocks(shards: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for vectors in shards:
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            yield vectors[start : start + ROWS_AT_ONCE]


def _better(hits: Hits, scores: np.ndarray, first: int, k: int) -> Hits:
    """Return the k best of the hits so far and of the documents from row `first` on, whose scores (Q, N) are given."""
    new = best(scores, k)
    rows = np.concatenate([hits.rows, new.rows + first], axis=1)
    both = best(np.concatenate([hits.scores, new.scores], axis=1), k)
    return Hits(np.take_along_axis(rows, both.rows, 1), both.scores)
