"""How much of an exact search an index finds, and how little effort is enough.

The queries are documents of the corpus itself. Each finds itself first, exactly and at once, so it is left out on both
sides: recall@10 is the part of its ten nearest other documents that the index finds.
"""

import time

import numpy as np

from ulmfit_ray.retrieval.faiss_index import VectorIndex
from ulmfit_ray.retrieval.search import Hits

NUM_HITS = 10
TIE = 2e-5
"""Cosines that differ by less are equal: those of equal documents, one of them in half precision."""
TIMED_QUERIES = 100


def without_own(hits: Hits, own: np.ndarray, k: int) -> Hits:
    """Return k hits of each query without the query's own row (Q,); of k + 1 hits, the last where it is not there."""
    others = np.argsort(hits.rows == own[:, None], axis=1, kind="stable")[:, :k]
    if hits.rows.shape[1] <= k:
        others = others[:, : hits.rows.shape[1] - 1]
    return Hits(np.take_along_axis(hits.rows, others, 1), np.take_along_axis(hits.scores, others, 1))


def recall(found: Hits, exact: Hits) -> float:
    """Return the part of the exact hits that was found; a document as near as the last of them is as good as it.

    1 where there is nothing to be found.
    """
    if not exact.rows.size:
        return 1.0
    is_right = (found.rows >= 0) & (found.scores >= exact.scores[:, -1:] - TIE)
    return float(is_right.mean())


def choose_effort(index: VectorIndex, queries: np.ndarray, own: np.ndarray, exact: Hits, wanted: float) -> float:
    """Give the index the smallest effort whose recall@10 reaches what is wanted, or its largest; return the recall.

    `own` are the rows (Q,) of the queries (Q, D), `exact` their hits in an exact search, themselves left out.
    """
    reached = 0.0
    for effort in index.efforts:
        index.effort = effort
        reached = recall(without_own(index.search(queries, NUM_HITS + 1), own, NUM_HITS), exact)
        if reached >= wanted:
            break
    return reached


def milliseconds_per_query(index: VectorIndex, queries: np.ndarray) -> float:
    """Return the mean time of a search for ten documents, one query at a time, once the files are in memory."""
    timed = queries[:TIMED_QUERIES]
    began = time.perf_counter()
    for query in timed:
        index.search(query[None], NUM_HITS)
    return (time.perf_counter() - began) / len(timed) * 1000
