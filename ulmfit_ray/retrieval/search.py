"""Exact nearest documents by cosine: numpy, shard by shard, in constant memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Hits:
    """The best documents of each query: row numbers over the whole corpus, and their scores, (queries, k)."""

    rows: np.ndarray
    scores: np.ndarray


def normalize_rows(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors scaled to length 1; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)


def best(scores: np.ndarray, k: int) -> Hits:
    """Return the k best documents of each query from a score matrix (Q, N); ties go to the first."""
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Hits(rows, np.take_along_axis(scores, rows, 1))


def nearest(queries: np.ndarray, shards: Iterable[np.ndarray], k: int) -> Hits:
    """Return the k nearest documents of each query (Q, D) among shards of vectors (N, D); ties go to the first.

    Raises:
        ValueError: queries and documents have different widths.
    """
    queries = normalize_rows(queries)
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    first = 0
    for vectors in shards:
        if vectors.shape[1] != queries.shape[1]:
            raise ValueError(f"queries have {queries.shape[1]} numbers, documents {vectors.shape[1]}: use one model")
        scores = np.concatenate([scores, queries @ normalize_rows(vectors).T], axis=1)
        numbers = np.broadcast_to(np.arange(first, first + len(vectors)), (len(queries), len(vectors)))
        rows = np.concatenate([rows, numbers], axis=1)
        hits = best(scores, k)
        rows, scores = np.take_along_axis(rows, hits.rows, 1), hits.scores
        first += len(vectors)
    return Hits(rows, scores)
