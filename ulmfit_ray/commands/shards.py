"""The shards of a data set as a command reads them: one that cannot be read is named, with what to do."""

from collections.abc import Iterator

import pyarrow as pa

from ulmfit_ray.storage.parquet_dataset import ParquetDataset
from ulmfit_ray.storage.token_dataset import TokenDataset


class DamagedError(RuntimeError):
    """What a directory holds is not what it claims."""


def shard_tables(dataset: TokenDataset | ParquetDataset) -> Iterator[pa.Table]:
    """Yield the shards in order.

    Raises:
        DamagedError: a shard is missing, cannot be read, or has another number of documents than was written.
    """
    uri, tables = dataset.folder.uri, dataset.tables()
    for row in dataset.shards:
        try:
            table = next(tables)
        except FileNotFoundError as error:
            raise _damaged(uri, row.file, "is missing") from error
        except (OSError, pa.ArrowException) as error:
            reason, *_ = str(error).split("\n", maxsplit=1)
            raise _damaged(uri, row.file, f"cannot be read ({reason})") from error
        if table.num_rows != row.num_documents:
            raise _damaged(uri, row.file, f"has {table.num_rows:,} documents, not {row.num_documents:,}")
        yield table


def _damaged(uri: str, file: str, what: str) -> DamagedError:
    return DamagedError(f"{file} of {uri} {what}\n    `ulmfit-ray verify {uri}` lists all that is wrong there")
