"""Where the documents of an embedding dataset lie on a map, and which cluster each belongs to.

The vectors of a sample are held in memory, those of the others a shard at a time. A document is in the sample by a hash
of its id, and the sample is worked on in the order of these hashes: neither order nor shards change the map.

N documents, S of them in the sample, D numbers in a vector.
"""

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pyarrow as pa

from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.config import ConfigError
from ulmfit_ray.reporting.progress import Bar
from ulmfit_ray.retrieval.clusters import by_size, cluster_centers, nearest_center
from ulmfit_ray.retrieval.map import STEPS, FittedMap, neighbors_kept
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.streams.selection import hashed


@dataclass(frozen=True, slots=True)
class Layout:
    """Places and clusters of all documents, in the order of the dataset."""

    positions: np.ndarray
    """Float32 (N, 2)."""
    clusters: np.ndarray
    """Numbers (N,), the largest cluster is 0."""
    neighbors_kept: float | None
    """Share of the ten nearest neighbours that are neighbours on the map too, in the sample; None of one document."""
    neighbors_kept_by_principal_components: float | None
    """The same of the simplest map."""

    def figures(self) -> dict[str, float]:
        """Return what is measured, for the manifest."""
        names = ("neighbors_kept", "neighbors_kept_by_principal_components")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def shuffled(embeddings: EmbeddingDataset, tokens: TokenDataset | None, seed: int) -> np.ndarray:
    """Return the numbers of all documents (N,) in the order of a hash of their ids: the first ones are the sample.

    Raises:
        ConfigError: the tokens are of other documents.
    """
    hashes = []
    for table, own in zip_longest(shard_tables(embeddings), () if tokens is None else shard_tables(tokens)):
        if tokens is not None and (table is None or own is None or not table["doc_id"].equals(own["doc_id"])):
            raise ConfigError(f"{embeddings.folder.uri} was not made from {tokens.folder.uri}: their documents differ")
        hashes.append(hashed(table["doc_id"], seed))
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
        neighbors_kept=neighbors_kept(vectors, fitted.positions),
        neighbors_kept_by_principal_components=neighbors_kept(vectors, fitted.principal),
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
        for table in shard_tables(embeddings):
            others = np.flatnonzero(~is_sampled[first : first + table.num_rows])
            vectors = _unit_vectors(embeddings, table.take(pa.array(others)))
            positions[first + others] = fitted.place(vectors)
            clusters[first + others] = nearest_center(vectors, centers)
            first += table.num_rows
            bar.advance(len(others))


def _vectors_at(embeddings: EmbeddingDataset, documents: np.ndarray) -> np.ndarray:
    """Return the vectors of some documents (S,), scaled to length 1 (S, D)."""
    order = np.argsort(documents)
    rising = documents[order]
    vectors: np.ndarray | None = None
    first = 0
    for table in shard_tables(embeddings):
        own = slice(*np.searchsorted(rising, (first, first + table.num_rows)))
        found = _unit_vectors(embeddings, table.take(pa.array(rising[own] - first)))
        if vectors is None:
            vectors = np.empty((len(documents), found.shape[1]), np.float32)
        vectors[order[own]] = found
        first += table.num_rows
    assert vectors is not None
    return vectors


def _unit_vectors(embeddings: EmbeddingDataset, table: pa.Table) -> np.ndarray:
    vectors = vectors_of(table)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        name = table["doc_id"][int(wrong[0])].as_py()
        raise ValueError(f"the vector of document {name!r} in {embeddings.folder.uri} is not finite: embed it again")
    unit: np.ndarray = normalize_rows(vectors)
    return unit
