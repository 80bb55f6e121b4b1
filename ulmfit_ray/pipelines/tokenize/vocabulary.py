"""Phase 2 of tokenizing: the shards' types added up into the vocabulary. No process ever holds all types."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from ray.data.aggregate import Sum

from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.text.vocab import Vocab, build_vocab, most_frequent

TYPES_SCHEMA = pa.schema([("token", pa.string()), ("count", pa.int64()), ("documents", pa.int64())])


def count_vocabulary(folder: Folder, counted: list[Receipt], *, max_vocab: int, min_freq: int) -> Vocab:
    """Return the vocabulary of all counted shards."""
    keep = partial(most_frequent, max_vocab=max_vocab, min_freq=min_freq)
    return build_vocab(
        [TYPES_SCHEMA.empty_table(), *_partitions(folder, [receipt.shard for receipt in counted], keep)],
        max_vocab=max_vocab,
        min_freq=min_freq,
        num_documents=sum(receipt.num_documents for receipt in counted),
        num_tokens=sum(receipt.num_tokens for receipt in counted),
    )


def _partitions(folder: Folder, shards: list[str], keep: Any) -> Iterator[pa.Table]:
    """Hash the types into partitions, sum them there, and yield the first ones of each partition."""
    context = ray.data.DataContext.get_current()
    # 200 partitions, the default, cost a laptop seconds.
    context.default_hash_shuffle_parallelism = min(200, len(shards))
    totals = (
        ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        .map_batches(partial(_read_types, output=folder.uri), batch_size=None)
        .groupby("token")
        .aggregate(Sum("count", alias_name="count"), Sum("documents", alias_name="documents"))
        .map_batches(keep, batch_size=None, batch_format="pyarrow")
    )
    yield from totals.iter_batches(batch_size=None, batch_format="pyarrow")


def _read_types(batch: dict[str, Any], output: str) -> Iterator[pa.Table]:
    folder = Folder(output)
    for shard in batch["shard"]:
        with folder.open(f"work/{shard}.types.parquet") as source:
            yield pq.read_table(source)
