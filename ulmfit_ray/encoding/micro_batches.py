"""Documents of all lengths -> batches of about equal lengths, longest first."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

MAX_PADDED_TOKENS = 1 << 19
"""Tokens per micro-batch, padding included (4 MiB of ids); a longer document is a micro-batch by itself."""


def micro_batches(lengths: np.ndarray, max_rows: Callable[[], int]) -> Iterator[np.ndarray]:
    """Yield the numbers of the documents of each micro-batch, longest first; all lengths are at least 1.

    `max_rows` is asked before each: it may become smaller on the way.
    """
    # Stable, so that equal lengths keep their order; longest first, so that rows leave from the end.
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        chosen = order[start : start + max(1, min(max_rows(), MAX_PADDED_TOKENS // longest))]
        start += len(chosen)
        yield chosen


def padded(documents: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Return ids (B, width), int64, zeros behind each document's own."""
    ids = np.zeros((len(documents), width), np.int64)
    for row, document in zip(ids, documents, strict=True):
        row[: len(document)] = document
    return ids
