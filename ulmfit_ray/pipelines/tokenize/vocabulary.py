"""Phase 2 of tokenizing: add up the types (distinct tokens) of all shards. No process ever holds all types."""

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from ray.data.aggregate import Sum

from ulmfit_ray.pipelines.runtime import blocks_as_they_come
from ulmfit_ray.pipelines.shards import grouped
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.text.vocab import Vocab, build_vocab, most_frequent

TYPES_SCHEMA = pa.schema([("token", pa.string()), ("count", pa.int64()), ("documents", pa.int64())])
MAX_PARTITIONS = 200
"""Ray's default. Fewer for few shards: on a laptop 200 partitions take seconds longer."""


def count_vocabulary(folder: Folder, counted: Sequence[Receipt], *, max_vocab: int, min_freq: int) -> Vocab:
    """Return the vocabulary of all counted shards."""
    parts = _most_frequent_types(folder, [receipt.shard for receipt in counted], max_vocab, min_freq)
    return build_vocab(
        [TYPES_SCHEMA.empty_table(), *parts],
        max_vocab=max_vocab,
        min_freq=min_freq,
        num_documents=sum(receipt.num_documents for receipt in counted),
        num_tokens=sum(receipt.num_tokens for receipt in counted),
    )


def _most_frequent_types(folder: Folder, shards: list[str], max_vocab: int, min_freq: int) -> Iterator[pa.Table]:
    """Hash the types into partitions, sum them there, and yield the most frequent ones of each partition."""
    ray.data.DataContext.get_current().default_hash_shuffle_parallelism = min(MAX_PARTITIONS, len(shards))
    totals = (
        ray.data.from_arrow([pa.table({"shard": group}) for group in grouped(shards)])
        .map_batches(partial(_read_types, output=folder.uri), batch_size=None)
        .groupby("token")
        .aggregate(Sum("count", alias_name="count"), Sum("documents", alias_name="documents"))
        .map_batches(
            partial(most_frequent, max_vocab=max_vocab, min_freq=min_freq), batch_size=None, batch_format="pyarrow"
        )
    )
    yield from blocks_as_they_come(totals)


def _read_types(batch: dict[str, list[str]], output: str) -> Iterator[pa.Table]:
    folder = Folder(output)
    for shard in batch["shard"]:
        with folder.open(f"work/{shard}.types.parquet") as source:
            yield pq.read_table(source)
