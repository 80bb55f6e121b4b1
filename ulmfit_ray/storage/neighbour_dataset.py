"""The neighbour dataset: Parquet shards with the nearest other documents of every document.

Columns: `doc_id`, the kept columns of the embedding dataset, and three lists, nearest first: `neighbours: list<string>`
(their ids), `rows: list<int64>` (their places in the embedding dataset) and `cosines: list<float32>`.
"""

import numpy as np
import pyarrow as pa

from ulmfit_ray.storage.parquet_dataset import ParquetDataset


def neighbour_table(documents: pa.Table, ids: pa.Array, rows: np.ndarray, cosines: np.ndarray) -> pa.Table:
    """Return the rows of a shard: documents beside their neighbours' rows and cosines (N, k), row -1 for none.

    `ids` are those of all documents of the embedding dataset.
    """
    is_there = rows >= 0
    offsets = pa.array(np.concatenate([[0], is_there.sum(axis=1).cumsum()]), pa.int32())
    own = pa.array(rows[is_there])
    columns = {"neighbours": ids.take(own), "rows": own, "cosines": pa.array(cosines[is_there].astype(np.float32))}
    for name, values in columns.items():
        documents = documents.append_column(name, pa.ListArray.from_arrays(offsets, values))
    return documents


class NeighbourDataset(ParquetDataset):
    """A finished neighbour dataset, opened for reading."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, "neighbours")
