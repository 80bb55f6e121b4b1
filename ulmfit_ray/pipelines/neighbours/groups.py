"""Near-duplicates: documents that neighbours with a large cosine link, directly or through others."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ulmfit_ray.retrieval.neighbours import linked_groups
from ulmfit_ray.storage.folder import Folder

SCHEMA = pa.schema([("group", pa.int64()), ("row", pa.int64()), ("doc_id", pa.string())])
"""Groups are numbered by their first documents; `row` is a document's place in the embedding dataset."""


def near_duplicates(folder: Folder, files: Sequence[str], threshold: float) -> pa.Table:
    """Return a row for each document that has a neighbour with a cosine of at least `threshold`, group by group.

    `files` are the shards of neighbours, in order. Memory grows with the documents that have such a neighbour.
    """
    ids: dict[int, str] = {}
    groups = linked_groups(_links(folder, files, threshold, ids))
    columns = [
        np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
        np.concatenate([np.empty(0, np.int64), *groups]),
    ]
    return pa.table([*columns, [ids[row] for group in groups for row in group.tolist()]], schema=SCHEMA)


def _links(
    folder: Folder, files: Sequence[str], threshold: float, ids: dict[int, str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each shard's pairs of rows; put the ids of their documents into `ids`."""
    first = 0
    for file in files:
        with folder.open(file) as source:
            table = pq.read_table(source, columns=["doc_id", "neighbours", "rows", "cosines"])
        lists = table["rows"].combine_chunks()
        owners = np.repeat(np.arange(table.num_rows), lists.value_lengths().to_numpy(zero_copy_only=False))
        is_near = table["cosines"].combine_chunks().flatten().to_numpy() >= threshold
        near = pa.array(np.flatnonzero(is_near))
        others = lists.flatten().take(near).to_numpy()
        ids |= zip(
            (owners[is_near] + first).tolist(), table["doc_id"].take(pa.array(owners[is_near])).to_pylist(), strict=True
        )
        ids |= zip(others.tolist(), table["neighbours"].combine_chunks().flatten().take(near).to_pylist(), strict=True)
        yield owners[is_near] + first, others
        first += table.num_rows
