"""Where the documents of an embedding dataset lie on a map, and which cluster each belongs to.

The vectors of a sample are held in memory, those of the others some thousands at a time. A document is in the sample
by a hash of its id, and the sample is worked on in the order of these hashes: neither order nor shards change the map.

N documents, S of them in the sample, D numbers in a vector.
"""

from dataclasses import dataclass

import numpy as np

from ulmfit_ray.commands.scoring import check_documents
from ulmfit_ray.commands.shards import document_ids, vector_blocks
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.retrieval.clusters import by_size, cluster_centers, nearest_center
from ulmfit_ray.retrieval.map import STEPS, FittedMap, neighbours_kept
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.selection import hashed


@dataclass(frozen=True, slots=True)
class Layout:
    """Places and clusters of all documents, in the order of the dataset."""

    positions: np.ndarray
    """Float32 (N, 2)."""
    clusters: np.ndarray
    """Numbers (N,), the largest cluster is 0."""
    neighbours_kept: float | None
    """Share of the ten nearest neighbours that are neighbours on the map too, in the sample; None of one document."""
    neighbours_kept_by_principal_components: float | None
    """The same of the simplest map."""

    def figures(self) -> dict[str, float]:
        """Return what is measured, for the manifest."""
        names = ("neighbours_kept", "neighbours_kept_by_principal_components")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def shuffled(embeddings: EmbeddingDataset, tokens: TokenDataset | None, seed: int) -> np.ndarray:
    """Return the numbers of all documents (N,) in the order of a hash of their ids: the first ones are the sample.

    Raises:
        ConfigError: the tokens are of other documents.
    """
    if tokens is not None:
        check_documents(embeddings, tokens)
    hashes = [hashed(ids, seed) for ids in document_ids(embeddings)]
    return np.argsort(np.concatenate(hashes), kind="stable")


def lay_out(
    embeddings: EmbeddingDataset, sample: np.ndarray, *, num_clusters: int, perplexity: float, seed: int
) -> Layout:
    """Return where all documents lie, after a map and clusters of a sample (S,) of their numbers.

    Raises:
        ValueError: a vector is not finite.
    """
    vectors = _vectors_at(embeddings, sample)
    with Bar("map", sum(STEPS), "steps", comes_in_bursts=False) as bar:
        fitted = FittedMap(vectors, perplexity=perplexity, seed=seed, advance=bar.advance)
    centers = cluster_centers(vectors, num_clusters, seed)
    num_documents = embeddings.manifest.counts.num_documents
    positions = np.empty((num_documents, 2), np.float32)
    clusters = np.empty(num_documents, np.int64)
    positions[sample], clusters[sample] = fitted.positions, nearest_center(vectors, centers)
    if len(sample) < num_documents:
        _place_others(embeddings, sample, fitted, centers, positions, clusters)
    return Layout(
        positions=positions,
        clusters=by_size(clusters),
        neighbours_kept=neighbours_kept(vectors, fitted.positions),
        neighbours_kept_by_principal_components=neighbours_kept(vectors, fitted.principal),
    )


def _place_others(
    embeddings: EmbeddingDataset,
    sample: np.ndarray,
    fitted: FittedMap,
    centers: np.ndarray,
    positions: np.ndarray,
    clusters: np.ndarray,
) -> None:
    """Fill in the places and clusters of the documents outside of the sample."""
    is_sampled = np.zeros(len(positions), bool)
    is_sampled[sample] = True
    first = 0
    with Bar("place", len(positions) - len(sample), "documents") as bar:
        for block in vector_blocks(embeddings):
            others = np.flatnonzero(~is_sampled[first : first + len(block)])
            vectors = normalize_rows(block[others])
            positions[first + others] = fitted.place(vectors)
            clusters[first + others] = nearest_center(vectors, centers)
            first += len(block)
            bar.advance(len(others))


def _vectors_at(embeddings: EmbeddingDataset, documents: np.ndarray) -> np.ndarray:
    """Return the vectors of some documents (S,), scaled to length 1 (S, D)."""
    order = np.argsort(documents)
    rising = documents[order]
    vectors = np.empty((len(documents), embeddings.dimension), np.float32)
    first = 0
    for block in vector_blocks(embeddings):
        own = slice(*np.searchsorted(rising, (first, first + len(block))))
        vectors[order[own]] = normalize_rows(block[rising[own] - first])
        first += len(block)
    return vectors
