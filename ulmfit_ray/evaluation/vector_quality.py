"""What a sample of vectors says of all: their lengths, and how alike two documents are that have nothing in common."""

from dataclasses import dataclass

import numpy as np

NUM_PAIRS = 100_000
PERCENTILES = (1, 50, 99)


@dataclass(frozen=True, slots=True)
class VectorQuality:
    """Figures of a sample of vectors."""

    lengths: tuple[float, ...]
    """The percentiles 1, 50 and 99 of their lengths."""
    mean_cosine: float
    """Of random pairs: near 1, all documents look alike and search finds little; near 0 is good."""
    deviation: float
    """Of the cosines of random pairs."""

    @classmethod
    def of(cls, vectors: np.ndarray) -> "VectorQuality":
        """Measure vectors (N, D) of at least two documents; none is zero."""
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        unit = vectors / lengths[:, None]
        random = np.random.default_rng(0)
        first = random.integers(0, len(vectors), NUM_PAIRS)
        # Never a document with itself.
        second = (first + random.integers(1, len(vectors), NUM_PAIRS)) % len(vectors)
        cosines = np.concatenate(
            [np.einsum("nd,nd->n", unit[one], unit[other]) for one, other in _parts(first, second)]
        )
        percentiles = tuple(float(value) for value in np.percentile(lengths, PERCENTILES))
        return cls(percentiles, float(cosines.mean()), float(cosines.std()))


def _parts(first: np.ndarray, second: np.ndarray, size: int = 4096) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(first[start : start + size], second[start : start + size]) for start in range(0, len(first), size)]
