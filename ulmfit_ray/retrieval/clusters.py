"""Groups of documents whose vectors are alike, and the words that are typical of each.

S documents in a sample, N documents, D numbers in a vector, K clusters, V words.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

STARTS = 4
"""k-means begins at so many places and keeps the best end."""
TYPICAL_RATIO = 2.0
"""A typical word is in at least so many times as many documents of its cluster as elsewhere: "the" never is."""
NAME_WORDS = 3
LIKE_LETTERS = 6
"""Words that begin with so many equal letters are taken for forms of one."""


def cluster_centers(vectors: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Return the centers (K, D) of k-means over vectors of length 1 (S, D); at most one for each distinct vector."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # It warns of fewer distinct vectors than centers; `nearest_center` uses the first of equal ones.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(min(num_clusters, len(vectors)), n_init=STARTS, random_state=seed).fit(vectors)
    centers: np.ndarray = found.cluster_centers_
    return centers


def nearest_center(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the number of the nearest center (K, D) for each vector (N, D); ties go to the first."""
    nearest: np.ndarray = (vectors @ centers.T - (centers**2).sum(axis=1) / 2).argmax(axis=1)
    return nearest


def by_size(numbers: np.ndarray) -> np.ndarray:
    """Return cluster numbers (N,) counted anew from 0: the largest cluster is 0, and none is empty."""
    counts = np.bincount(numbers)
    ranks = np.empty(len(counts), np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return ranks[numbers]


def typical_words(documents: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Return for each cluster its typical words, the most typical first: columns of `documents`.

    `documents` (K, V) counts the documents of a cluster that hold a word, `sizes` (K,) all its documents. The order is
    that of TF-IDF over classes: how much of the cluster has the word, times the logarithm of how much more that is than
    in all documents.
    """
    total, size = documents.sum(axis=0), sizes.sum()
    ranked = []
    for own, own_size in zip(documents, sizes, strict=True):
        share = own / own_size
        elsewhere = (total - own) / max(1, size - own_size)
        is_typical = (own > 0) & (share >= TYPICAL_RATIO * elsewhere)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.where(is_typical, share * np.log(share * size / total), 0.0)
        order = np.argsort(-scores, kind="stable")
        # Of a single cluster, which has all documents, nothing is typical.
        ranked.append(order[: np.count_nonzero(scores > 0)])
    return ranked


def cluster_names(ranked: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each cluster, of about three of its typical words, all names different."""
    names: list[str] = []
    for number, words in enumerate(ranked, 1):
        name = next((name for name in _names(words) if name not in names), None)
        names.append(name or f"cluster {number}")
    return names


def _names(words: Sequence[str]) -> Iterator[str]:
    """Yield names of three words, four, and so on; of "neurons" and "neuronal" only the first takes part."""
    chosen: list[str] = []
    for word in words:
        if not any(_is_alike(word, other) for other in chosen):
            chosen.append(word)
    for size in range(min(NAME_WORDS, len(chosen)), len(chosen) + 1):
        if size:
            yield ", ".join(chosen[:size])


def _is_alike(word: str, other: str) -> bool:
    """Tell whether two words begin alike, so that the second would say little beside the first."""
    size = min(len(word), len(other), LIKE_LETTERS)
    return word[:size] == other[:size]
