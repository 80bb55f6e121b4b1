"""The embedding dataset: Parquet shards of vectors.

Columns: `doc_id`, `num_tokens`, the kept columns of the token dataset, and
`embedding: fixed_size_list<float32 or float16>[D]`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.model.description import Block
from ulmfit_ray.storage.parquet_dataset import ParquetDataset, column_of_rows, document_columns, rows_of_column


def embedding_table(tokens: pa.Table, num_tokens: np.ndarray, vectors: np.ndarray) -> pa.Table:
    """Return the rows of an embedding shard: a token shard's documents with their vectors (N, D)."""
    return pa.table(document_columns(tokens, num_tokens) | {"embedding": column_of_rows(vectors)})


def vectors_of(table: pa.Table) -> np.ndarray:
    """Return the vectors of a shard as float32 (N, D)."""
    return rows_of_column(table["embedding"]).astype(np.float32)


def finite_vectors_of(table: pa.Table, place: str) -> np.ndarray:
    """Return the vectors of documents as float32 (N, D); `place` is where they lie, for the message.

    Raises:
        ValueError: a vector has a number that is infinite or none; the document is named.
    """
    vectors = vectors_of(table)
    is_finite = np.isfinite(vectors).all(axis=1)
    if not is_finite.all():
        doc_id = table["doc_id"][int(is_finite.argmin())].as_py()
        raise ValueError(
            f"the vector of document {doc_id!r} in {place} has a number that is not finite: embed the text again, in"
            " float32"
        )
    return vectors


class EmbeddingDataset(ParquetDataset):
    """A finished embedding dataset, opened for reading."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "embed")

    def check_model(self, fingerprint: str, model_uri: str) -> None:
        """Raise ValueError if queries would be encoded by another model than the documents were."""
        if self.manifest.model != fingerprint:
            raise ValueError(f"{self.folder.uri} was not made by {model_uri}: their fingerprints differ")

    @property
    def blocks(self) -> list[Block]:
        """Return the blocks that lie side by side in a vector (none but for a retriever's)."""
        return [Block(**block) for block in self.job.config["blocks"]]

    @property
    def dimension(self) -> int:
        """Return how many numbers a vector has."""
        with self.folder.open(self.shards[0].file) as source:
            size: int = pq.read_schema(source).field("embedding").type.list_size
        return size

    @property
    def pooling(self) -> str:
        """Return how outputs became vectors: queries must go the same way."""
        assert self.manifest.pooling is not None
        return self.manifest.pooling
