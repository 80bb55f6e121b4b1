"""The k nearest documents of every document: products of blocks, of which almost nothing has to be looked at twice.

N documents, Q of them asked for, D numbers in a vector. Sorting all scores would cost more than computing them. After
the first block a document's k-th best score is a threshold that ever fewer scores pass: of a block only the largest of
every CHUNK scores are compared with it, and those that pass are merged with what was best before.
"""

from collections.abc import Iterable

import numpy as np

from ulmfit_ray.retrieval.search import Hits, best

QUERIES_AT_ONCE, ROWS_AT_ONCE = 2048, 4096
"""So many scores are held at the same time: 32 MB."""
CHUNK = 64


def nearest_others(queries: np.ndarray, own: np.ndarray, documents: np.ndarray, k: int) -> Hits:
    """Return the k nearest documents of each query, which is a document itself and not its own neighbour.

    `queries` (Q, D) and `documents` (N, D) are unit vectors, float32; `own` (Q,) are the queries' rows in `documents`,
    which may be memory-mapped. Ties go to the first. With fewer than k others, row -1 and score -inf fill the rest.
    """
    starts = range(0, len(queries), QUERIES_AT_ONCE)
    parts = [
        _nearest(queries[start : start + QUERIES_AT_ONCE], own[start : start + QUERIES_AT_ONCE], documents, k)
        for start in starts
    ]
    none = np.empty((0, k))
    rows = np.concatenate([none.astype(np.int64), *(part.rows for part in parts)])
    return Hits(rows, np.concatenate([none.astype(np.float32), *(part.scores for part in parts)]))


def _nearest(queries: np.ndarray, own: np.ndarray, documents: np.ndarray, k: int) -> Hits:
    found: Hits | None = None
    for start in range(0, len(documents), ROWS_AT_ONCE):
        block = documents[start : start + ROWS_AT_ONCE]
        scores = queries @ block.T  # (Q, block)
        is_inside = (own >= start) & (own < start + len(block))
        scores[is_inside.nonzero()[0], own[is_inside] - start] = -np.inf
        found = _first(scores, k) if found is None else _merged(found, scores, start)
    assert found is not None, "there is at least the document itself"
    return found


def _merged(found: Hits, scores: np.ndarray, start: int) -> Hits:
    """Return the best of what was found and of the documents from row `start` on, whose scores (Q, block) are given."""
    k = found.rows.shape[1]
    queries, columns = _passing(scores, found.scores[:, -1])
    if len(queries) == 0:
        return found
    touched = np.unique(queries)
    # All that competes for a touched query: what it had, and what passed; the first rows come first.
    query = np.concatenate([np.repeat(touched, k), queries])
    row = np.concatenate([found.rows[touched].ravel(), columns + start])
    score = np.concatenate([found.scores[touched].ravel(), scores[queries, columns]])
    order = np.lexsort((row, -score, query))
    begins = np.searchsorted(query[order], touched)
    first = order[begins[:, None] + np.arange(k)]  # (touched, k)
    rows, values = found.rows.copy(), found.scores.copy()
    rows[touched], values[touched] = row[first], score[first]
    return Hits(rows, values)


def _first(scores: np.ndarray, k: int) -> Hits:
    """Return the k best of the first documents."""
    hits = best(scores, k)
    missing = k - hits.rows.shape[1]
    rows = np.pad(hits.rows, ((0, 0), (0, missing)), constant_values=-1)
    values = np.pad(hits.scores, ((0, 0), (0, missing)), constant_values=-np.inf)
    return Hits(np.where(np.isneginf(values), -1, rows), values)


def _passing(scores: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where scores (Q, N) are over their row's threshold (Q,): their rows and columns."""
    whole = scores.shape[1] // CHUNK * CHUNK
    largest = scores[:, :whole].reshape(len(scores), -1, CHUNK).max(axis=2)  # (Q, chunks)
    queries, chunks = (largest > thresholds[:, None]).nonzero()
    columns = chunks[:, None] * CHUNK + np.arange(CHUNK)
    is_over = scores[queries[:, None], columns] > thresholds[queries, None]
    at, _ = is_over.nonzero()
    rest_queries, rest_columns = (scores[:, whole:] > thresholds[:, None]).nonzero()
    return np.concatenate([queries[at], rest_queries]), np.concatenate([columns[is_over], rest_columns + whole])


def linked_groups(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Return the groups of documents that pairs of rows link, directly or through others.

    `pairs` come in parts, as two arrays of rows. A group is its rows, rising; groups stand in the order of their first
    rows. Memory grows with the documents that have a pair.
    """
    leader: dict[int, int] = {}

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for firsts, seconds in pairs:
        for pair in zip(firsts.tolist(), seconds.tolist(), strict=True):
            one, other = (find(leader.setdefault(row, row) if row not in leader else row) for row in pair)
            leader[max(one, other)] = min(one, other)
    members: dict[int, list[int]] = {}
    for row in sorted(leader):
        members.setdefault(find(row), []).append(row)
    return [np.array(rows, np.int64) for rows in members.values()]
