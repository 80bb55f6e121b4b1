"""The shards of a data set as a command reads them: one that cannot be read is named, with what to do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, finite_vectors_of
from ulmfit_ray.storage.manifest import ShardRow
from ulmfit_ray.storage.parquet_dataset import ParquetDataset
from ulmfit_ray.storage.token_dataset import TokenDataset


class DamagedError(RuntimeError):
    """What a directory holds is not what it claims."""


def shard_tables(dataset: TokenDataset | ParquetDataset) -> Iterator[pa.Table]:
    """Yield the shards in order.

    Raises:
        DamagedError: a shard is missing, cannot be read, or has another number of documents than was written.
    """
    tables = dataset.tables()
    for row in dataset.shards:
        with _named_if_damaged(dataset, row):
            table = next(tables)
        _check_rows(dataset, row, table.num_rows)
        yield table


def vector_blocks(embeddings: EmbeddingDataset) -> Iterator[np.ndarray]:
    """Yield the vectors of all documents in order, float32 (N, D), some thousands at a time.

    Raises:
        DamagedError: as `shard_tables` does.
        ValueError: a vector is not finite.
    """
    for row in embeddings.shards:
        blocks, num_rows = embeddings.row_blocks(row, ["doc_id", *embeddings.vector_columns]), 0
        while True:
            with _named_if_damaged(embeddings, row):
                block = next(blocks, None)
            if block is None:
                break
            vectors = finite_vectors_of(block, f"{row.file} of {embeddings.folder.uri}")
            num_rows += len(vectors)
            yield vectors
        _check_rows(embeddings, row, num_rows)


def documents_at(dataset: ParquetDataset, rows: Sequence[int], without: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return the columns of some documents, given by their numbers, but those in `without`; only their shards are read.

    Raises:
        DamagedError: as `shard_tables` does.
    """
    wanted = np.unique(np.array(rows, np.int64))
    found: dict[int, dict[str, Any]] = {}
    first = 0
    for row in dataset.shards:
        own = wanted[(wanted >= first) & (wanted < first + row.num_documents)]
        if len(own):
            with _named_if_damaged(dataset, row):
                table = dataset.read(row, [name for name in dataset.columns(row) if name not in without])
            _check_rows(dataset, row, table.num_rows)
            found |= dict(zip(own.tolist(), table.take(pa.array(own - first)).to_pylist(), strict=True))
        first += row.num_documents
    return found


def same_documents(dataset: TokenDataset, other: ParquetDataset) -> bool:
    """Tell whether two data sets have the same documents in the same order, however they are cut into shards."""
    if dataset.manifest.counts.num_documents != other.manifest.counts.num_documents:
        return False
    theirs = document_ids(other)
    rest = pa.chunked_array([[]], pa.string())
    for table in shard_tables(dataset):
        own = table["doc_id"]
        while len(rest) < len(own):
            rest = pa.chunked_array([*rest.chunks, *next(theirs).chunks])
        if not own.equals(rest.slice(0, len(own))):
            return False
        rest = rest.slice(len(own))
    return True


def column_tables(dataset: ParquetDataset, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of the shards in order; nothing else of them is read.

    Raises:
        DamagedError: as `shard_tables` does.
    """
    for row in dataset.shards:
        with _named_if_damaged(dataset, row):
            table = dataset.read(row, columns)
        _check_rows(dataset, row, table.num_rows)
        yield table


def document_ids(dataset: ParquetDataset) -> Iterator[pa.ChunkedArray]:
    """Yield the ids of each shard's documents, in order, as strings."""
    return (pc.cast(table["doc_id"], pa.string()) for table in column_tables(dataset, ["doc_id"]))


@contextmanager
def _named_if_damaged(dataset: TokenDataset | ParquetDataset, row: ShardRow) -> Iterator[None]:
    uri = dataset.folder.uri
    try:
        yield
    except FileNotFoundError as error:
        raise _damaged(uri, row.file, "is missing") from error
    except (OSError, pa.ArrowException) as error:
        reason, *_ = str(error).split("\n", maxsplit=1)
        raise _damaged(uri, row.file, f"cannot be read ({reason})") from error


def _check_rows(dataset: TokenDataset | ParquetDataset, row: ShardRow, num_rows: int) -> None:
    if num_rows != row.num_documents:
        raise _damaged(dataset.folder.uri, row.file, f"has {num_rows:,} documents, not {row.num_documents:,}")


def _damaged(uri: str, file: str, what: str) -> DamagedError:
    return DamagedError(f"{file} of {uri} {what}\n    `ulmfit-ray verify {uri}` lists all that is wrong there")
