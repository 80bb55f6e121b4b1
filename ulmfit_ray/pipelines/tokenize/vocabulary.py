"""Phase 2 of tokenizing: add up the types (distinct tokens) of all shards, for the vocabulary and the manifest.

A few types are added up by the driver in less time than Ray needs to begin. Of many no process ever holds more than a
part; see type_partitions.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ulmfit_ray.pipelines.tokenize.type_partitions import (
    TYPES_SCHEMA,
    added_up,
    read_types,
    size_of_types,
    sums_of_partitions,
)
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.storage.receipts import Receipt, Receipts
from ulmfit_ray.text.vocab import Vocab, build_vocab, most_frequent

MAX_BYTES_HERE, BYTES_AT_ONCE = 48 << 20, 8 << 20
"""Files of types that the driver adds up by itself, and how many of them at once. A type takes about 8 bytes in a file
and 100 in memory; a corpus of a gigabyte has 40 MB of them, most in many shards."""
MAX_ROWS_KEPT = 1_000_000
"""Types of all partitions that the driver keeps before it drops those that cannot be in the vocabulary."""
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


def count_types(folder: Folder, counted: Iterable[Receipt], *, max_vocab: int, min_freq: int) -> CountedTypes:
    """Add up the types of all counted shards.

    Raises:
        RuntimeError: a shard's types cannot be read, or the counts do not add up to the tokens of the receipts.
    """
    counted = Receipts.of(counted)
    num_tokens = counted.total("num_tokens")
    shards = counted.names()
    chosen = partial(_most_frequent_and_total, max_vocab=max_vocab, min_freq=min_freq)
    if size_of_types(folder) <= MAX_BYTES_HERE:
        parts = iter([chosen(_types_here(folder, shards))])
    else:
        parts = sums_of_partitions(folder, shards, chosen)
    frequent, found, num_types = TYPES_SCHEMA.empty_table(), 0, 0
    for part in parts:
        is_total = pc.is_null(part["token"])
        found += pc.sum(part.filter(is_total)["count"]).as_py()
        num_types += pc.sum(part.filter(is_total)["types"]).as_py()
        frequent = pa.concat_tables([frequent, part.filter(pc.invert(is_total)).select(TYPES_SCHEMA.names)])
        if frequent.num_rows > MAX_ROWS_KEPT:
            # No type is in two partitions, so nothing is lost.
            frequent = _most_frequent_and_named(frequent, max_vocab=max_vocab, min_freq=min_freq)
    if found != num_tokens:
        raise RuntimeError(
            f"{folder.uri}: the types of all shards have {found:,} occurrences, the shards {num_tokens:,} tokens:"
            " something was lost on the way. Run the same command again; if it says so again, start afresh with"
            " --overwrite."
        )
    vocab = build_vocab(
        [frequent],
        max_vocab=max_vocab,
        min_freq=min_freq,
        num_documents=counted.total("num_documents"),
        num_tokens=num_tokens,
    )
    named = _first(frequent, NUM_NAMED)
    counts = dict(zip(named["token"].to_pylist(), named["count"].to_pylist(), strict=True))
    return CountedTypes(vocab, num_types, counts)


def _first(types: pa.Table, number: int) -> pa.Table:
    """Return the most frequent types; of equal count, those that come first by code point."""
    return types.take(pc.select_k_unstable(types, number, [("count", "descending"), ("token", "ascending")]))


def _types_here(folder: Folder, shards: Sequence[str]) -> pa.Table:
    """Return the types of all shards, added up in this process."""
    summed, waiting = TYPES_SCHEMA.empty_table(), [TYPES_SCHEMA.empty_table()]
    for number, shard in enumerate(shards, 1):
        waiting.append(read_types(folder, shard))
        if number == len(shards) or sum(table.nbytes for table in waiting) > BYTES_AT_ONCE:
            summed, waiting = added_up([summed, *waiting]), []
    return summed


def _most_frequent_and_total(types: pa.Table, max_vocab: int, min_freq: int) -> pa.Table:
    """Return the most frequent types of a partition, and one row more, without a token, that counts all of them."""
    total = {"token": [None], "count": [pc.sum(types["count"]).as_py() or 0], "documents": [0], "types": [len(types)]}
    rows = _most_frequent_and_named(types, max_vocab, min_freq)
    rows = rows.append_column(PART_SCHEMA.field("types"), pa.nulls(len(rows), pa.int64()))
    return pa.concat_tables([rows, pa.table(total, schema=PART_SCHEMA)])


def _most_frequent_and_named(types: pa.Table, max_vocab: int, min_freq: int) -> pa.Table:
    """Return the most frequent types; rare ones are among them only where there are too few others to name."""
    chosen = most_frequent(types, max_vocab=max_vocab, min_freq=min_freq)
    named = _first(types, NUM_NAMED)
    return pa.concat_tables([chosen, named.filter(pc.invert(pc.is_in(named["token"], value_set=chosen["token"])))])
