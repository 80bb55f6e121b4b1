"""The embedding dataset: Parquet shards of vectors that open as they are in pandas, polars, DuckDB, Spark.

Columns: `doc_id`, `num_tokens`, the kept columns of the token dataset, and
`embedding: fixed_size_list<float32 or float16>[D]`. A shard is named like the token shard it was made from.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.model.description import Block
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import read_manifest, read_shards
from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS


def embedding_table(tokens: pa.Table, num_tokens: np.ndarray, vectors: np.ndarray) -> pa.Table:
    """Return the rows of an embedding shard: a token shard's documents with their vectors (N, D)."""
    kept = [name for name in tokens.schema.names if name not in ("doc_id", "tokens", *FIELD_COLUMNS)]
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    columns = {"doc_id": tokens["doc_id"], "num_tokens": pa.array(num_tokens.astype(np.int32))}
    return pa.table(columns | {name: tokens[name] for name in kept} | {"embedding": embedding})


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a shard, compressed with zstd; vectors have no dictionary, because their values do not repeat."""
    others = [name for name in table.schema.names if name != "embedding"]
    pq.write_table(table, path, compression="zstd", use_dictionary=others)


def vectors_of(table: pa.Table) -> np.ndarray:
    """Return the vectors of a shard as float32 (N, D)."""
    column = table["embedding"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return (
        column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size).astype(np.float32)
    )


class EmbeddingDataset:
    """A finished embedding dataset, opened for reading.

    Raises:
        FileNotFoundError, IncompleteDatasetError, ValueError: see `read_manifest`.
    """

    def __init__(self, uri: str) -> None:
        self.folder = Folder(uri)
        self.manifest = read_manifest(self.folder, ["embed"])
        self.job = read_job(self.folder)
        self.shards = read_shards(self.folder)

    def check_model(self, fingerprint: str, model_uri: str) -> None:
        """Raise ValueError if queries would be encoded by another model than the documents were."""
        if self.manifest.model != fingerprint:
            raise ValueError(f"{self.folder.uri} was not made by {model_uri}: their weights' fingerprints differ")

    @property
    def blocks(self) -> list[Block]:
        """Return the blocks that lie side by side in a vector (none for a language model's)."""
        return [Block(**block) for block in self.job.config["blocks"]]

    @property
    def pooling(self) -> str:
        """Return how outputs became vectors: queries must go the same way."""
        assert self.manifest.pooling is not None
        return self.manifest.pooling

    def tables(self) -> Iterator[pa.Table]:
        """Yield the shards in order."""
        for row in self.shards:
            with self.folder.filesystem.open_input_file(self.folder.path(row.file)) as source:
                yield pq.read_table(source)
