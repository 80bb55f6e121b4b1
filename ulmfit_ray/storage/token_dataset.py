"""The token dataset: Arrow shards of numericalized documents, uncompressed so that they can be memory-mapped.

Columns: `doc_id`; `tokens` (lists of uint16, or uint32 if the vocabulary has more than 65,536 entries); if there are
several text columns, `field_starts` and `field_ends` (where the tokens of each text column begin and end in `tokens`);
then the kept columns. Beside each shard lies its census, a small Parquet file (see text.census).
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from ulmfit_ray.storage.cache import damaged, open_cached
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.job_record import read_job
from ulmfit_ray.storage.manifest import FORMAT_VERSION, read_manifest, read_shards, shards_fingerprint

FIELD_COLUMNS = ("field_starts", "field_ends")


def token_schema(
    num_text_columns: int, kept: Sequence[pa.Field], token_id_type: pa.DataType, metadata: dict[str, str]
) -> pa.Schema:
    """Return the schema of a shard."""
    fields = [pa.field("doc_id", pa.string()), pa.field("tokens", pa.list_(token_id_type))]
    if num_text_columns > 1:
        fields += [pa.field(name, pa.list_(pa.uint32())) for name in FIELD_COLUMNS]
    return pa.schema([*fields, *kept], metadata={"format_version": str(FORMAT_VERSION)} | metadata)


def write_arrow(table: pa.Table, path: Path) -> None:
    """Write one table as an Arrow IPC file of one record batch; equal tables give equal bytes."""
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def census_file(shard: str) -> str:
    """Return the name of a shard's census in the dataset."""
    return f"census/{shard}.parquet"


def write_census(table: pa.Table, path: Path) -> None:
    """Write a census. Lengths and counts are stored as differences: 100,000 documents make 11 kB instead of 16."""
    differences = {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in ("lengths", "documents")}
    pq.write_table(table, path, compression="zstd", use_dictionary=False, column_encoding=differences)


def read_census(folder: Folder, shard: str) -> pa.Table:
    """Return a shard's census."""
    with folder.open(census_file(shard)) as source:
        return pq.read_table(source)


def flat_tokens(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return a list column's (values, offsets): document i is values[offsets[i]:offsets[i + 1]]."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    offsets = array.offsets.to_numpy().astype(np.int64)
    if len(offsets) == 0:
        return np.empty(0, np.uint16), np.zeros(1, np.int64)
    return array.values.to_numpy(zero_copy_only=False), offsets


class TokenDataset:
    """A finished token dataset, opened for reading.

    Raises:
        FileNotFoundError, IncompleteDatasetError, ValueError: see `read_manifest`.
    """

    def __init__(self, uri: str) -> None:
        self.folder = Folder(uri)
        self.manifest = read_manifest(self.folder, ["tokenize"])
        self.job = read_job(self.folder)
        self.shards = read_shards(self.folder)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 over the SHA-256 of all shards: equal shards give an equal fingerprint."""
        return shards_fingerprint(self.shards)

    @property
    def text_columns(self) -> list[str]:
        """Return the names of the fields, in the order of `field_starts`."""
        return list(self.job.config["text_columns"])

    def read(self, shard: str) -> pa.Table:
        """Return one shard, memory-mapped and not copied: the file itself, or this node's copy (see cache.py).

        Raises:
            ValueError: the file in an object store is another, or damaged.
        """
        return pa.ipc.open_file(self._open(shard)).read_all()

    def read_checked(self, shard: str) -> pa.Table:
        """Return one shard, as `read` does, once its hash is found to be the recorded one.

        Raises:
            ValueError: the file is another, or damaged.
        """
        with self._open(shard) as source:
            content = source.read_buffer()
        if hashlib.sha256(content).hexdigest() != self._hash(shard):
            raise damaged(self.folder, f"shards/{shard}.arrow")
        return pa.ipc.open_file(pa.BufferReader(content)).read_all()

    def _hash(self, shard: str) -> str:
        """Return the SHA-256 that was recorded when a shard was written."""
        (recorded,) = self.shards.filter(pc.equal(self.shards.table["shard"], shard)).table["sha256"].to_pylist()
        return str(recorded)

    def _open(self, shard: str) -> pa.NativeFile:
        return open_cached(self.folder, f"shards/{shard}.arrow", self._hash(shard))

    def tables(self) -> Iterator[pa.Table]:
        """Yield the shards in order."""
        for row in self.shards:
            yield self.read(row.shard)
