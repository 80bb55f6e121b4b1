"""The language model's stream: documents in a seeded order, joined, cut into equal contiguous columns.

Row i of a batch continues row i of the batch before, so the hidden state can be carried over. The stream depends on
the data set, the seed and the *global* batch size, never on the number of workers: a worker reads a fixed block of
columns, which hold the same tokens as if one worker read them all.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents of each shard take part (row numbers), and how many tokens these have, by shard."""

    documents: list[np.ndarray]
    num_tokens: np.ndarray

    @property
    def total_tokens(self) -> int:
        """Return the number of tokens of all documents that take part."""
        return int(self.num_tokens.sum())


def is_held_out(doc_ids: pa.ChunkedArray, fraction: float, seed: int) -> np.ndarray:
    """Return which documents are for validation (bool, one per id), chosen by a hash of id and seed.

    So the choice does not depend on the order, on the number of workers, or on documents added later.
    """
    key = seed.to_bytes(8, "little", signed=True)
    limit = fraction * 2.0**64
    digests = (hashlib.blake2b(str(doc_id).encode(), digest_size=8, key=key).digest() for doc_id in doc_ids)
    return np.fromiter((int.from_bytes(digest, "little") < limit for digest in digests), bool, len(doc_ids))


def select(dataset: TokenDataset, *, fraction: float, seed: int, held_out: bool) -> Selection:
    """Return the held-out documents, or the others; one pass over ids and list offsets."""
    documents, num_tokens = [], []
    for table in dataset.tables():
        chosen = np.ones(table.num_rows, bool)
        if fraction > 0:
            chosen = is_held_out(table["doc_id"], fraction, seed) == held_out
        _, offsets = flat_tokens(table["tokens"])
        documents.append(np.flatnonzero(chosen))
        num_tokens.append(int(np.diff(offsets)[chosen].sum()))
    return Selection(documents, np.array(num_tokens, dtype=np.int64))


def count_tokens(dataset: TokenDataset, selection: Selection, vocab_size: int) -> np.ndarray:
    """Return how often each of the first `vocab_size` words occurs in the selection, (V,), the others as xxunk."""
    counts = np.zeros(vocab_size, np.int64)
    for table, documents in zip(dataset.tables(), selection.documents, strict=True):
        values, offsets = flat_tokens(table["tokens"])
        in_selection = np.zeros(table.num_rows, bool)
        in_selection[documents] = True
        ids = values[np.repeat(in_selection, np.diff(offsets))].astype(np.int64)
        counts += np.bincount(np.where(ids < vocab_size, ids, 0), minlength=vocab_size)
    return counts


class LMStream:
    """A selection of documents as windows (batches) of this worker's columns.

    All documents, joined, are one long row of tokens, cut into `global_batch_size` columns of equal length; column c
    begins at token c * column_tokens. At most `global_batch_size` tokens are left over at an epoch's end. The last
    window of an epoch may be shorter. With `backward` each document is reversed: it begins with its last word and ends
    with xxbos.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        selection: Selection,
        *,
        global_batch_size: int,
        bptt: int,
        columns: slice,
        seed: int,
        shuffle: bool = True,
        backward: bool = False,
        what: str = "tokens",
    ) -> None:
        self._dataset, self._selection = dataset, selection
        self._bptt, self._columns = bptt, range(global_batch_size)[columns]
        self._seed, self._shuffle, self._backward = seed, shuffle, backward
        # Every token but the last one has a next token.
        self.column_tokens = (selection.total_tokens - 1) // global_batch_size
        if self.column_tokens < 1:
            raise ValueError(
                f"{selection.total_tokens} {what} are too few for a batch of {global_batch_size} rows:"
                " lower --training.global-batch-size or bring more text"
            )
        self.num_windows = -(-self.column_tokens // bptt)
        self._opened: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = OrderedDict()

    def windows(self, epoch: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield token ids (columns, T + 1) from window `first` on: the first T are inputs, the last T their targets."""
        order = self._shard_order(epoch)
        start = first * self._bptt
        readers = [
            _Reader(self._documents_from(epoch, order, column * self.column_tokens + start)) for column in self._columns
        ]
        for position in range(start, self.column_tokens, self._bptt):
            size = min(self._bptt, self.column_tokens - position)
            yield np.stack([reader.read(size) for reader in readers])

    def _shard_order(self, epoch: int) -> np.ndarray:
        count = len(self._selection.documents)
        if not self._shuffle:
            return np.arange(count)
        return np.random.default_rng([self._seed, epoch]).permutation(count)

    def _documents_from(self, epoch: int, order: Sequence[int] | np.ndarray, position: int) -> Iterator[np.ndarray]:
        """Yield documents in the epoch's order, the first one from token `position` of the stream on.

        Which shard holds the position is known from the shards' numbers of tokens, without opening any; which
        document of it, from the shard's own list offsets. So a column begins anywhere at the cost of one shard.
        """
        ends = np.cumsum(self._selection.num_tokens[order])
        first = int(np.searchsorted(ends, position, side="right"))
        skip = position - (int(ends[first - 1]) if first else 0)
        for shard in order[first:]:
            values, starts, stops = self._shard(epoch, int(shard))
            # `skip` is counted from the shard's first token; after the first shard it is 0.
            lengths = np.cumsum(stops - starts)
            document = int(np.searchsorted(lengths, skip, side="right"))
            skip -= int(lengths[document - 1]) if document else 0
            for start, stop in zip(starts[document:], stops[document:], strict=True):
                tokens = values[start:stop]
                yield (tokens[::-1] if self._backward else tokens)[skip:]
                skip = 0

    def _shard(self, epoch: int, shard: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a shard's tokens and the starts and stops of its documents in the epoch's order."""
        key = (epoch, shard)
        if key not in self._opened:
            values, offsets = flat_tokens(self._dataset.read(self._dataset.shards[shard].shard)["tokens"])
            documents = self._selection.documents[shard]
            if self._shuffle:
                documents = np.random.default_rng([self._seed, epoch, shard]).permutation(documents)
            self._opened[key] = (values, offsets[documents], offsets[documents + 1])
            # Each column reads one shard at a time, and two at a shard's end.
            while len(self._opened) > len(self._columns) + 1:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return self._opened[key]


class _Reader:
    """Reads the tokens of one column. The last token of a read, a target, is also the first input of the next read."""

    def __init__(self, documents: Iterator[np.ndarray]) -> None:
        self._documents = documents
        self._parts: list[np.ndarray] = []
        self._available = 0

    def read(self, size: int) -> np.ndarray:
        """Return size + 1 tokens and go on by `size`."""
        while self._available < size + 1:
            part = next(self._documents)
            self._parts.append(part)
            self._available += len(part)
        tokens = np.concatenate(self._parts)
        self._parts = [tokens[size:]]
        self._available = len(tokens) - size
        return tokens[: size + 1]
