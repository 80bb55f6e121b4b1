"""Vectors -> two dimensions in which neighbours stay neighbours, by t-SNE.

t-SNE becomes slow and large with many documents. So it moves a sample, and any other document is placed into the
finished map: at the median of its five nearest documents of the sample. That costs one look at the sample and depends
on no other document. Of 5,183 abstracts (TF-IDF in 200 dimensions), 2,500 of them the sample, the others keep .454 of
their ten nearest neighbours there; after 250 steps of openTSNE's own descent from there, it is .458.

S documents in the sample, N others, D numbers in a vector.
"""

import os
from collections.abc import Callable

import numpy as np

STEPS = (250, 500)
"""openTSNE's own: steps with early exaggeration, which pull groups together, and steps without."""
STEPS_AT_ONCE = 50
"""How often a fit says how far it is; divides both numbers of steps."""
LEAST_FITTED = 4
"""Fewer documents have no three neighbours each, with which t-SNE begins."""
SPREAD = 1e-4
"""Standard deviation of the places that t-SNE starts from (Kobak and Berens 2019)."""
PLACED_BY = 5
PLACED_AT_ONCE = 4096
NEIGHBOURS = 10
MOST_ASKED = 1000
"""So many documents are asked for their neighbours: the share that is kept has a standard error of about .01."""
ASKED_AT_ONCE = 100


def require_open_tsne() -> None:
    """Raise ValueError where openTSNE is missing; to be asked before work that ends with a map."""
    try:
        import openTSNE  # noqa: F401
    except ImportError as error:
        raise ValueError("a map needs openTSNE and scikit-learn: pip install 'ulmfit-ray[map]'") from error


class FittedMap:
    """A map of a sample of documents, into which others can be placed."""

    def __init__(
        self,
        vectors: np.ndarray,
        *,
        perplexity: float,
        seed: int,
        advance: Callable[[int], object] = lambda steps: None,
    ) -> None:
        """Fit the map to vectors of length 1 (S, D); `advance` is told of steps that are done, `sum(STEPS)` in all.

        Neighbours are exact, by cosine. A perplexity is the number of neighbours that count; it is at most a third of
        the other documents. The same vectors in the same order give the same map on the same machine.
        """
        from openTSNE import TSNE

        self.principal = principal_components(vectors)
        """The sample along its two principal components (S, 2): what a map is compared with."""
        self.positions = self.principal.astype(np.float32)
        """The places of the sample (S, 2)."""
        if len(vectors) < LEAST_FITTED:
            advance(sum(STEPS))
            return

        def count(step: int, error: float, embedding: np.ndarray) -> None:
            advance(STEPS_AT_ONCE)

        tsne = TSNE(
            perplexity=min(perplexity, (len(vectors) - 1) / 3),
            early_exaggeration_iter=STEPS[0],
            n_iter=STEPS[1],
            initialization=_start(self.principal, seed),
            # Of vectors of length 1 it orders documents as the cosine does.
            metric="euclidean",
            neighbors="exact",
            n_jobs=_num_threads(),
            random_state=seed,
            callbacks=count,
            callbacks_every_iters=STEPS_AT_ONCE,
        )
        self._embedding = tsne.fit(vectors)
        self.positions = np.asarray(self._embedding, np.float32)

    def place(self, vectors: np.ndarray) -> np.ndarray:
        """Return the places (N, 2) of other documents, given as vectors of length 1 (N, D)."""
        places = np.empty((len(vectors), 2), np.float32)
        for start in range(0, len(vectors), PLACED_AT_ONCE):
            part = slice(start, start + PLACED_AT_ONCE)
            # It looks up three neighbours for each unit of the perplexity.
            partial = self._embedding.prepare_partial(
                vectors[part], initialization="median", k=PLACED_BY, perplexity=PLACED_BY / 2
            )
            places[part] = partial
        return places


def _num_threads() -> int:
    """Return how many threads t-SNE may use; it does not read OMP_NUM_THREADS itself.

    On a busy machine threads that wait for each other in every step take far longer than one.
    """
    from joblib import cpu_count

    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else cpu_count()


def principal_components(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (S, D) along their two principal components (S, 2); zeros where there are fewer."""
    from scipy.linalg import eigh

    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    width = vectors.shape[1]
    _, axes = eigh(centred.T @ centred, subset_by_index=(max(0, width - 2), width - 1))
    axes = axes[:, ::-1]
    # An axis may point either way: its largest number is made positive.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], 0)
    found = np.zeros((len(vectors), 2))
    found[:, : axes.shape[1]] = centred @ (axes * np.sign(largest))
    return found


def _start(principal: np.ndarray, seed: int) -> np.ndarray:
    """Return where t-SNE begins: the principal components made small, with equal documents a little apart."""
    noise = np.random.default_rng(seed).normal(size=principal.shape)
    deviation = principal[:, 0].std()
    if deviation < SPREAD:
        return SPREAD * noise
    started: np.ndarray = SPREAD * (principal / deviation + 0.01 * noise)
    return started


def neighbours_kept(vectors: np.ndarray, positions: np.ndarray) -> float | None:
    """Return the share of the ten nearest neighbours in space that are among the ten nearest on the map.

    Asked of the first 1,000 of the sample: vectors of length 1 (S, D) and places (S, 2). None for a single document.
    """
    num_neighbours = min(NEIGHBOURS, len(vectors) - 1)
    if num_neighbours < 1:
        return None
    kept = 0
    num_asked = min(MOST_ASKED, len(vectors))
    for start in range(0, num_asked, ASKED_AT_ONCE):
        asked = np.arange(start, min(start + ASKED_AT_ONCE, num_asked))
        distances = -vectors[asked] @ vectors.T
        on_map = ((positions[asked, None] - positions[None]) ** 2).sum(axis=2)
        near = [_nearest(table, asked, num_neighbours) for table in (distances, on_map)]
        kept += sum(len(np.intersect1d(*pair)) for pair in zip(*near, strict=True))
    return kept / (num_asked * num_neighbours)


def _nearest(distances: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    """Return the columns (Q, k) of the least distances (Q, S); row i is that of document own[i], which is left out."""
    distances[np.arange(len(own)), own] = np.inf
    return np.argpartition(distances, k - 1, axis=1)[:, :k]
