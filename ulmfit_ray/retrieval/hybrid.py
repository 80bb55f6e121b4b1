"""Words and vectors together: BM25 plus cosine, each with mean 0 and deviation 1 over all documents.

N documents, Q queries, D numbers in a vector. Where all scores of a query are at hand, that is `together`. Over
millions of documents only the cosines of candidates are computed (`fused`). Mean and deviation are those of all
documents all the same, and exact: the mean cosine of a query with unit vectors is its product with their mean m, and
the variance is q C q with their covariance C. BM25 scores all documents anyway. So the one approximation is that a
document which is a candidate neither by its words nor by its vector is not found.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.retrieval.search import Hits, best, normalize_rows


def standardize(scores: np.ndarray) -> np.ndarray:
    """Return scores (Q, N) with mean 0 and standard deviation 1 in each row.

    So the scores of two systems can be added.
    """
    deviation = scores.std(axis=1, keepdims=True)
    centred: np.ndarray = scores - scores.mean(axis=1, keepdims=True)
    return centred / np.where(deviation > 0, deviation, 1.0)


def together(bm25: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Return the hybrid scores (Q, N): the sum of both, each standardized over all documents."""
    # BM25 in float32 has its mean rounded at a ten-millionth: a million equal scores would no longer be equal to it.
    return standardize(bm25.astype(np.float64)) + standardize(cosines)


def fused(
    bm25: np.ndarray,
    near: np.ndarray,
    cosines_of: Callable[[np.ndarray], np.ndarray],
    mean: float,
    deviation: float,
    k: int,
) -> Hits:
    """Return the k best documents of one query by hybrid score, (1, k), among candidates.

    Candidates are the rows `near`, the nearest by their vectors, and as many that are best by their words. `bm25` are
    the scores (N,) of all documents, `cosines_of` gives those of rows; `mean` and `deviation` are of all cosines.
    """
    words = standardize(bm25[None].astype(np.float64))
    # Rising rows: ties go to the first document.
    rows = np.union1d(near, best(words, len(near)).rows[0])
    vectors = (cosines_of(rows) - mean) / (deviation if deviation > 0 else 1.0)
    hits = best(words[:, rows] + vectors, k)
    return Hits(rows[hits.rows], hits.scores)


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean (D,) and covariance (D, D) of all documents' unit vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray

    def of_cosines(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (Q,) of each query's cosines with all documents, for queries (Q, D)."""
        unit = normalize_rows(queries.astype(np.float64))
        variance = np.einsum("qd,de,qe->q", unit, self.covariance, unit, optimize=True)
        return unit @ self.mean, np.sqrt(np.maximum(variance, 0.0))

    def to_array(self) -> np.ndarray:
        """Return both as one array (D + 1, D): the mean is its first row."""
        return np.concatenate([self.mean[None], self.covariance])

    @classmethod
    def from_array(cls, array: np.ndarray) -> "Moments":
        """Return what `to_array` gave."""
        return cls(array[0], array[1:])


class MomentSums:
    """Adds up the moments of vectors that come block by block."""

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._pivot = np.zeros(dimension, np.float32)
        self._sum = np.zeros(dimension)
        self._products = np.zeros((dimension, dimension))

    def add(self, vectors: np.ndarray) -> None:
        """Count vectors (N, D) of any length, N > 0."""
        unit = normalize_rows(vectors)
        if not self._count:
            # Near the mean: what is multiplied is small then, and float32 is exact enough.
            self._pivot = unit.mean(axis=0)
        centred = unit - self._pivot
        self._count += len(vectors)
        self._sum += centred.sum(axis=0, dtype=np.float64)
        self._products += centred.T @ centred

    def moments(self) -> Moments:
        """Return the moments of all vectors that were added."""
        mean = self._sum / self._count
        return Moments(self._pivot + mean, self._products / self._count - np.outer(mean, mean))
