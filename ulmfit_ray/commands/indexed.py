"""Hits of a search index: the nearest documents, or with the words' scores the best of candidates."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ulmfit_ray.retrieval.bm25 import BM25Index
from ulmfit_ray.retrieval.faiss_index import VectorIndex
from ulmfit_ray.retrieval.hybrid import Moments, fused
from ulmfit_ray.retrieval.search import Hits, normalize_rows
from ulmfit_ray.storage.search_index import MOMENTS_FILE, WORDS_FOLDER, SearchIndex

CANDIDATES = 1000
"""By the vectors, and as many by the words, from which a hybrid search takes its hits."""


def open_vectors(index: SearchIndex, place: Path) -> VectorIndex:
    """Open the index of the vectors whose files are in `place`."""
    figures = index.manifest.figures
    return VectorIndex.load(place, figures["kind"], figures["effort"])


def indexed_hits(index: SearchIndex, queries: np.ndarray, words: Sequence[np.ndarray] | None, k: int) -> Hits:
    """Return the k best documents of each query (Q, D), by vectors, or by vectors and `words` (each query's token ids).

    With words, the index must have some.
    """
    with index.files() as place:
        vectors = open_vectors(index, place)
        if words is None:
            return vectors.search(queries, k)
        return _hybrid(vectors, place, queries, words, k)


def _hybrid(vectors: VectorIndex, place: Path, queries: np.ndarray, words: Sequence[np.ndarray], k: int) -> Hits:
    bm25 = BM25Index.load(place / WORDS_FOLDER)
    means, deviations = Moments.from_array(np.load(place / MOMENTS_FILE)).of_cosines(queries)
    near = vectors.search(queries, max(CANDIDATES, k)).rows
    hits = []
    for number, unit in enumerate(normalize_rows(queries)):
        cosines = partial(_cosines, vectors, unit)
        rows, scores = near[number][near[number] >= 0], bm25.scores(words[number])
        hits.append(fused(scores, rows, cosines, means[number], deviations[number], k))
    return Hits(np.concatenate([hit.rows for hit in hits]), np.concatenate([hit.scores for hit in hits]))


def _cosines(vectors: VectorIndex, unit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the cosines (R,) of a query, a unit vector (D,), with documents."""
    return vectors.vectors(rows) @ unit
