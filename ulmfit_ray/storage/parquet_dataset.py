"""What embeddings and predictions have in common: Parquet shards with one row for each document of a token shard.

They open as they are in pandas, polars, DuckDB and Spark. A shard is named like the token shard it was made from.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import ShardRow, read_manifest, read_shards, shards_fingerprint
from ulmfit_ray.storage.token_dataset import FIELD_COLUMNS

BLOCK_ROWS = 8192
"""Of 512 numbers each, 16 MB."""
GROUP_BYTES = 16 << 20
"""Of a row group, before compression: a reader holds a whole one."""


def document_columns(tokens: pa.Table, num_tokens: np.ndarray) -> dict[str, Any]:
    """Return what every row begins with: `doc_id`, `num_tokens: int32`, the kept columns of the token shard."""
    kept = [name for name in tokens.schema.names if name not in ("doc_id", "tokens", *FIELD_COLUMNS)]
    columns = {"doc_id": tokens["doc_id"], "num_tokens": pa.array(num_tokens.astype(np.int32))}
    return columns | {name: tokens[name] for name in kept}


def column_of_rows(rows: np.ndarray) -> pa.FixedSizeListArray:
    """Return rows (N, D) as a column of lists of D numbers."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def rows_of_column(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of lists of D numbers as rows (N, D)."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a shard, compressed with zstd, in row groups of bounded size.

    Rows of numbers have no dictionary, because their values do not repeat, and no least and largest value.
    """
    others = [field.name for field in table.schema if not pa.types.is_fixed_size_list(field.type)]
    rows = max(1, GROUP_BYTES * table.num_rows // max(1, table.nbytes))
    pq.write_table(table, path, compression="zstd", use_dictionary=others, write_statistics=others, row_group_size=rows)


class ParquetDataset:
    """A finished output of `verb`, opened for reading.

    Raises:
        FileNotFoundError, IncompleteDatasetError, ValueError: see `read_manifest`.
    """

    def __init__(self, uri: str, verb: str) -> None:
        self.folder = Folder(uri)
        self.manifest = read_manifest(self.folder, [verb])
        self.job = read_job(self.folder)
        self.shards = read_shards(self.folder)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 over the SHA-256 of all shards: equal shards give an equal fingerprint."""
        return shards_fingerprint(self.shards)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the shards in order."""
        for row in self.shards:
            with self.folder.filesystem.open_input_file(self.folder.path(row.file)) as source:
                yield pq.read_table(source)

    def row_blocks(self, row: ShardRow, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of a shard, `BLOCK_ROWS` rows at a time: no more of a long shard is held."""
        with self.folder.open(row.file) as source:
            for batch in pq.ParquetFile(source).iter_batches(BLOCK_ROWS, columns=list(columns)):
                yield pa.Table.from_batches([batch])

    def columns(self, row: ShardRow) -> list[str]:
        """Return the names of a shard's columns."""
        with self.folder.open(row.file) as source:
            names: list[str] = pq.read_schema(source).names
        return names

    def read(self, row: ShardRow, columns: Sequence[str]) -> pa.Table:
        """Return some columns of a shard."""
        with self.folder.open(row.file) as source:
            return pq.read_table(source, columns=list(columns))
