"""How near `neighbours` comes to the speed of the matrix products that it is made of, in one process.

    python benchmarks/neighbours.py [--embeddings DIR] [--documents 100000] [--queries 8192] [--output FILE.json]

The vectors are those of an embedding dataset, or synthetic ones: 512 numbers, in a thousand clusters. Both take turns
over the same vectors: the neighbours of some documents among all, and the products alone, block by block as they are
made for the neighbours. The median of the rounds' ratios counts. Threads are numpy's (OMP_NUM_THREADS).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reporting import report

from ulmfit_ray.retrieval.neighbours import QUERIES_AT_ONCE, ROWS_AT_ONCE, nearest_others
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of


def synthetic(number: int, width: int = 512, clusters: int = 1000) -> np.ndarray:
    """Return unit vectors around random centers."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(clusters, width)).astype(np.float32)
    noise = random.normal(size=(number, width)).astype(np.float32)
    return normalize_rows(centers[random.integers(clusters, size=number)] + noise)


def products(queries: np.ndarray, documents: np.ndarray) -> None:
    """Compute all scores and keep none."""
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        for start in range(0, len(documents), ROWS_AT_ONCE):
            queries[first : first + QUERIES_AT_ONCE] @ documents[start : start + ROWS_AT_ONCE].T


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=8192)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.embeddings is None:
        vectors = synthetic(options.documents)
    else:
        tables = EmbeddingDataset(options.embeddings).tables()
        vectors = normalize_rows(np.concatenate([vectors_of(table) for table in tables]))[: options.documents]
    own = np.sort(np.random.default_rng(1).permutation(len(vectors))[: options.queries])
    queries = vectors[own]
    rounds = [
        (
            seconds(lambda: nearest_others(queries, own, vectors, options.k)),
            seconds(lambda: products(queries, vectors)),
        )
        for _ in range(options.rounds)
    ]
    flop = 2.0 * len(queries) * len(vectors) * vectors.shape[1]
    result = {
        "vectors": "synthetic" if options.embeddings is None else "of an embedding dataset",
        "documents": len(vectors),
        "dimension": vectors.shape[1],
        "queries": len(queries),
        "k": options.k,
        "gflop_per_second": {
            "neighbours": round(flop / statistics.median(own for own, _ in rounds) / 1e9, 1),
            "products alone": round(flop / statistics.median(plain for _, plain in rounds) / 1e9, 1),
        },
        "ratio": round(statistics.median(plain / own for own, plain in rounds), 3),
        "rounds": options.rounds,
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
