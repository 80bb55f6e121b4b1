"""Which documents take part in a stream: all, those held out to judge a model, or the others.

Whether a document is held out is a function of its id and a seed. It depends neither on the order of the documents, nor
on the number of workers, nor on documents added later, and it is not remembered but made again with each shard.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.census import spread

IDS_AT_ONCE = 1 << 16
"""So many ids of 30 characters take 60 MB for a moment."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents of a dataset take part, and how many tokens these have, by shard."""

    fraction: float
    """Part of the documents that is held out."""
    seed: int
    held_out: bool
    """Whether the held-out documents take part, or the others."""
    num_tokens: np.ndarray

    @property
    def total_tokens(self) -> int:
        """Return the number of tokens of all documents that take part."""
        return int(self.num_tokens.sum())

    def takes(self, table: pa.Table) -> np.ndarray:
        """Return for each document of a shard whether it takes part (bool)."""
        return _takes(table, self.fraction, self.seed, self.held_out)


def everything(dataset: TokenDataset) -> Selection:
    """Return all documents; how many tokens they have is known without a look at them."""
    return Selection(0.0, 0, False, np.array([row.num_tokens for row in dataset.shards], np.int64))


def select(dataset: TokenDataset, *, fraction: float, seed: int, held_out: bool) -> Selection:
    """Return the held-out documents, or the others; one pass over ids and list offsets."""
    num_tokens = []
    for table in dataset.tables():
        _, offsets = flat_tokens(table["tokens"])
        num_tokens.append(int(np.diff(offsets)[_takes(table, fraction, seed, held_out)].sum()))
    return Selection(fraction, seed, held_out, np.array(num_tokens, dtype=np.int64))


def _takes(table: pa.Table, fraction: float, seed: int, held_out: bool) -> np.ndarray:
    if fraction == 0:
        return np.full(table.num_rows, not held_out)
    return is_held_out(table["doc_id"], fraction, seed) == held_out


def is_held_out(doc_ids: pa.ChunkedArray, fraction: float, seed: int) -> np.ndarray:
    """Return which documents are for validation (bool, one per id)."""
    return hashed(doc_ids, seed) < fraction


def hashed(doc_ids: pa.ChunkedArray, seed: int) -> np.ndarray:
    """Return a number of [0, 1) for each id, as if drawn at random (float64): the same for the same id and seed.

    The hash is multilinear (Lemire and Kaser 2014): the sum of an id's bytes, each times a random number of 64 bits
    that belongs to its place. Ids that count have equal distances in it, so it is spread once more. A million ids take
    0.3 seconds.
    """
    hashes = [np.empty(0, np.uint64)]
    for start in range(0, len(doc_ids), IDS_AT_ONCE):
        hashes.append(_hashes(doc_ids.slice(start, IDS_AT_ONCE), seed))
    # 53 bits: as many as a float has.
    return (spread(np.concatenate(hashes)) >> np.uint64(11)) * 2.0**-53


def _hashes(ids: pa.ChunkedArray, seed: int) -> np.ndarray:
    array = ids.cast(pa.large_binary()).combine_chunks()
    ends = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    content = np.frombuffer(array.buffers()[2], np.uint8)[ends[0] : ends[-1]]
    starts, lengths = ends[:-1] - ends[0], np.diff(ends)
    places = np.arange(len(content)) - np.repeat(starts, lengths)
    random = np.random.default_rng(seed % 2**64)
    first, *factors = random.integers(2**64, size=1 + int(lengths.max()), dtype=np.uint64)
    # All sums are taken modulo 2**64. A byte counts one more, or a zero at the end would count nothing.
    terms = np.array(factors, np.uint64)[places] * (content.astype(np.uint64) + np.uint64(1))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    return first + sums[starts + lengths] - sums[starts]


def count_tokens(dataset: TokenDataset, selection: Selection, vocab_size: int) -> np.ndarray:
    """Return how often each of the first `vocab_size` words occurs in the selection, (V,), the others as xxunk."""
    counts = np.zeros(vocab_size, np.int64)
    for table in dataset.tables():
        values, offsets = flat_tokens(table["tokens"])
        ids = values[np.repeat(selection.takes(table), np.diff(offsets))].astype(np.int64)
        counts += np.bincount(np.where(ids < vocab_size, ids, 0), minlength=vocab_size)
    return counts
