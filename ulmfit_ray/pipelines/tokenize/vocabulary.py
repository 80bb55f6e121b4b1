"""Phase 2 of tokenizing: add up the types (distinct tokens) of all shards, for the vocabulary and the manifest.

A few types are added up by the driver in less time than Ray needs to begin. Of many no process ever holds all: they
are hashed into partitions, which Ray's workers add up.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data
from ray.data.aggregate import Sum
from ray.exceptions import RayTaskError

from ulmfit_ray.pipelines.attempts import tried
from ulmfit_ray.pipelines.runtime import blocks_as_they_come
from ulmfit_ray.pipelines.shards import grouped
from ulmfit_ray.reporting.logs import configure_logging, log_context
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt
from ulmfit_ray.text.vocab import Vocab, build_vocab, most_frequent

TYPES_SCHEMA = pa.schema([("token", pa.string()), ("count", pa.int64()), ("documents", pa.int64())])
RETRIES = 30
"""How often Ray starts a task again whose worker died. Nothing else bounds it here; a dead node costs a few."""
MAX_SHARDS_HERE, MAX_TYPES_HERE = 1_000, 4_000_000
"""What the driver adds up by itself: 4 million types take about 500 MB and ten seconds."""
MAX_PARTITIONS = 200
"""Ray's default. Fewer for few shards: on a laptop 200 partitions take seconds longer."""
NUM_NAMED = 20
"""How many of the most frequent tokens the manifest names."""
PART_SCHEMA = TYPES_SCHEMA.append(pa.field("types", pa.int64()))


@dataclass(frozen=True, slots=True)
class CountedTypes:
    """What the types of a corpus, added up, say of it; with a given vocabulary they are not counted."""

    vocab: Vocab
    num_types: int | None = None
    most_frequent_tokens: dict[str, int] = field(default_factory=dict)
    """With their counts, in falling order."""

    def figures(self) -> dict[str, Any]:
        """Return what the manifest says, beside the vocabulary."""
        if self.num_types is None:
            return {}
        return {"num_types": self.num_types, "most_frequent_tokens": self.most_frequent_tokens}


def count_types(folder: Folder, counted: Sequence[Receipt], *, max_vocab: int, min_freq: int) -> CountedTypes:
    """Add up the types of all counted shards.

    Raises:
        RuntimeError: a shard's types cannot be read, or the counts do not add up to the tokens of the receipts.
    """
    num_tokens = sum(receipt.num_tokens for receipt in counted)
    shards = [receipt.shard for receipt in counted]
    types = _types_here(folder, shards)
    chosen = partial(_most_frequent_and_total, max_vocab=max_vocab, min_freq=min_freq)
    parts = [chosen(types)] if types is not None else _partitions(folder, shards, chosen)
    rows = pa.concat_tables([PART_SCHEMA.empty_table(), *parts])
    is_total = pc.is_null(rows["token"])
    totals, frequent = rows.filter(is_total), rows.filter(pc.invert(is_total)).select(TYPES_SCHEMA.names)
    found = pc.sum(totals["count"]).as_py() or 0
    if found != num_tokens:
        raise RuntimeError(
            f"{folder.uri}: the types of all shards have {found:,} occurrences, the shards {num_tokens:,} tokens:"
            " something was lost on the way. Run the same command again."
        )
    vocab = build_vocab(
        [frequent],
        max_vocab=max_vocab,
        min_freq=min_freq,
        num_documents=sum(receipt.num_documents for receipt in counted),
        num_tokens=num_tokens,
    )
    named = _first(frequent, NUM_NAMED)
    counts = dict(zip(named["token"].to_pylist(), named["count"].to_pylist(), strict=True))
    return CountedTypes(vocab, pc.sum(totals["types"]).as_py() or 0, counts)


def _first(types: pa.Table, number: int) -> pa.Table:
    """Return the most frequent types; of equal count, those that come first by code point."""
    return types.take(pc.select_k_unstable(types, number, [("count", "descending"), ("token", "ascending")]))


def _types_here(folder: Folder, shards: Sequence[str]) -> pa.Table | None:
    """Return the types of all shards, added up in this process, or None if they are too many for it."""
    if len(shards) > MAX_SHARDS_HERE:
        return None
    summed, waiting = TYPES_SCHEMA.empty_table(), [TYPES_SCHEMA.empty_table()]
    for number, shard in enumerate(shards, 1):
        waiting.append(tried(partial(_types, folder, f"work/{shard}.types.parquet")))
        if number == len(shards) or sum(table.num_rows for table in waiting) > MAX_TYPES_HERE:
            summed, waiting = _added_up([summed, *waiting]), []
            if summed.num_rows > MAX_TYPES_HERE:
                return None
    return summed


def _added_up(types: list[pa.Table]) -> pa.Table:
    sums = pa.concat_tables(types).group_by("token").aggregate([("count", "sum"), ("documents", "sum")])
    return sums.rename_columns({"count_sum": "count", "documents_sum": "documents"})


def _partitions(folder: Folder, shards: list[str], chosen: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
    """Hash the types into partitions, sum them there, and yield the most frequent ones and the total of each."""
    context = ray.data.DataContext.get_current()
    context.default_hash_shuffle_parallelism = min(MAX_PARTITIONS, len(shards))
    tolerated = context.max_errored_blocks
    # Elsewhere a lost block lacks its receipts. Here only the total would show it, so the first error ends the phase.
    context.max_errored_blocks = 0
    totals = (
        ray.data.from_arrow([pa.table({"shard": group}) for group in grouped(shards)])
        .map_batches(partial(_read_types, output=folder.uri), batch_size=None, max_retries=RETRIES)
        .groupby("token")
        .aggregate(Sum("count", alias_name="count"), Sum("documents", alias_name="documents"))
        .map_batches(chosen, batch_size=None, batch_format="pyarrow", max_retries=RETRIES)
    )
    try:
        yield from blocks_as_they_come(totals)
    except RayTaskError as error:
        raise RuntimeError(f"the vocabulary could not be counted: {error.cause}") from error
    finally:
        context.max_errored_blocks = tolerated


def _most_frequent_and_total(types: pa.Table, max_vocab: int, min_freq: int) -> pa.Table:
    """Return the most frequent types of a partition, and one row more, without a token, that counts all of them.

    Rare ones are among them only where the partition has too few others to name.
    """
    types = types.select(TYPES_SCHEMA.names).cast(TYPES_SCHEMA)
    total = {"token": [None], "count": [pc.sum(types["count"]).as_py() or 0], "documents": [0], "types": [len(types)]}
    chosen = most_frequent(types, max_vocab=max_vocab, min_freq=min_freq)
    named = _first(types, NUM_NAMED)
    more = named.filter(pc.invert(pc.is_in(named["token"], value_set=chosen["token"])))
    rows = pa.concat_tables([chosen, more])
    rows = rows.append_column(PART_SCHEMA.field("types"), pa.nulls(len(rows), pa.int64()))
    return pa.concat_tables([rows, pa.table(total, schema=PART_SCHEMA)])


def _read_types(batch: dict[str, list[str]], output: str) -> Iterator[pa.Table]:
    """Yield the types of each shard of a group, on a worker; what cannot be read is tried again, and named."""
    configure_logging()
    folder = Folder(output)
    for shard in map(str, batch["shard"]):
        with log_context(job="tokenize", stage="2 vocabulary", shard=shard):
            yield tried(partial(_types, folder, f"work/{shard}.types.parquet"))


def _types(folder: Folder, name: str) -> pa.Table:
    try:
        with folder.open(name) as source:
            return pq.read_table(source)
    except Exception as error:
        raise RuntimeError(f"{folder.uri}/{name} cannot be read: {type(error).__name__}: {error}") from error
