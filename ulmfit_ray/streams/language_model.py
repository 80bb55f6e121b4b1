"""The language model's stream: documents in a seeded order, joined, cut into equal contiguous columns.

Row i of a batch continues row i of the batch before, so the hidden state can be carried over. The stream depends on
the data set, the seed and the *global* batch size, never on the number of workers: a worker reads a fixed block of
columns, which hold the same tokens as if one worker read them all.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.streams.selection import Selection

_LENGTHS = 0x1E57
"""Keeps the random numbers of window lengths apart from those of the documents' order."""


def equal_lengths(bptt: int, column_tokens: int) -> np.ndarray:
    """Return the tokens of an epoch's windows: `bptt` each, and what is left."""
    whole, rest = divmod(column_tokens, bptt)
    return np.array([bptt] * whole + ([rest] if rest else []), np.int64)


def varied_lengths(bptt: int, column_tokens: int, seed: int) -> np.ndarray:
    """Return the tokens of an epoch's windows as AWD-LSTM varies them (Merity et al. 2017, section 5).

    They are normally distributed (deviation 5, 5 at least) around `bptt`, and around half of it in one of 20 windows.
    """
    random = np.random.default_rng([seed, _LENGTHS])
    # Half as many again as are needed on average, and some.
    count = 100 + 3 * column_tokens // (2 * max(5, bptt))
    means = np.where(random.random(count) < 0.95, bptt, bptt / 2)
    lengths = np.maximum(5, random.normal(means, 5).astype(np.int64))
    ends = np.cumsum(lengths)
    used = int(np.searchsorted(ends, column_tokens))
    lengths = lengths[: used + 1]
    lengths[-1] -= ends[used] - column_tokens
    return lengths


class LMStream:
    """A selection of documents as windows (batches) of this worker's columns.

    All documents, joined, are one long row of tokens, cut into `global_batch_size` columns of equal length; column c
    begins at token c * column_tokens. 1 to `global_batch_size` tokens are left out of an epoch's targets. The last
    window of an epoch may be shorter; with `vary_bptt` all windows differ. With `backward` each document is reversed:
    it begins with its last word and ends with xxbos.

    Raises:
        ValueError: there are too few tokens for one window; the message calls them `what`, and ends with `remedy`.
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
        vary_bptt: bool = False,
        what: str = "tokens",
        remedy: str = "lower --training.global-batch-size or bring more text",
    ) -> None:
        self._dataset, self._selection = dataset, selection
        self._columns = range(global_batch_size)[columns]
        self._seed, self._shuffle, self._backward = seed, shuffle, backward
        # Every token but the last one has a next token.
        self.column_tokens = (selection.total_tokens - 1) // global_batch_size
        if self.column_tokens < 1:
            raise ValueError(
                f"{selection.total_tokens:,} {what} are too few for a batch of {global_batch_size} rows: {remedy}"
            )
        self.tokens_left_out = selection.total_tokens - global_batch_size * self.column_tokens
        """Tokens that are never a target in an epoch: the very first one, and what the columns do not reach."""
        lengths = (
            varied_lengths(bptt, self.column_tokens, seed) if vary_bptt else equal_lengths(bptt, self.column_tokens)
        )
        self._lengths, self._vary_bptt = lengths, vary_bptt
        self.num_windows = len(lengths)
        self._opened: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = OrderedDict()

    def windows(self, epoch: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield token ids (columns, T + 1) from window `first` on: the first T are inputs, the last T their targets."""
        order, lengths = self._shard_order(epoch), self._window_lengths(epoch)
        start = int(lengths[:first].sum())
        readers = [
            _Reader(self._documents_from(epoch, order, column * self.column_tokens + start)) for column in self._columns
        ]
        for length in lengths[first:].tolist():
            yield np.stack([reader.read(length) for reader in readers])

    def _window_lengths(self, epoch: int) -> np.ndarray:
        """Return the tokens of each window: every epoch has the same ones, varied ones in an order of its own."""
        if not self._vary_bptt:
            return self._lengths
        return np.random.default_rng([self._seed, epoch, _LENGTHS]).permutation(self._lengths)

    def _shard_order(self, epoch: int) -> np.ndarray:
        count = len(self._selection.num_tokens)
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
            table = self._dataset.read(self._dataset.shards[shard].shard)
            values, offsets = flat_tokens(table["tokens"])
            documents = np.flatnonzero(self._selection.takes(table))
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
