"""The labelled documents of a selection: where each lies in its shard, and what is to be said of it.

A document takes 12 bytes and its target; its tokens stay in the memory-mapped shard until they are asked for, and its
id is read again.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.streams.labels import LabelColumn, Targets
from ulmfit_ray.streams.selection import Selection, hashed

PLACE = np.dtype([(name, np.int32) for name in ("shard", "start", "stop")])
"""Where a document lies: its shard, and places in that shard's flat tokens, which Arrow counts in 32 bits."""
_SEED_OF_FEW = 1 << 32
"""Added to the seed: which labelled documents are taken has nothing to do with which are held out."""


class Examples:
    """The documents of a selection that have a label, numbered from 0 in the order in which they are stored.

    `at_most` takes only so many of them (0: all), as if drawn at random: the first 100 are among the first 200.
    Single labels are balanced: each has as many documents as any other, or one less, or all that there are.

    Raises:
        ValueError: a label is not one of `labels`, a document has no tokens, or there are fewer than `at_most`.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        column: LabelColumn,
        labels: Sequence[str],
        selection: Selection,
        *,
        at_most: int = 0,
        seed: int = 0,
    ) -> None:
        self.labels = tuple(labels)
        self.num_unlabelled = 0
        """Documents of the selection without a label."""
        self._dataset = dataset
        self._values: list[np.ndarray] = []
        places, targets, numbers = [np.empty(0, PLACE)], [], [np.empty(0)]
        for shard, table in enumerate(dataset.tables()):
            values, offsets = flat_tokens(table["tokens"])
            takes = selection.takes(table)
            chosen = table.select(["doc_id", column.column]).filter(pa.array(takes))
            found = column.targets(chosen, labels)
            is_labelled = found.is_labelled()
            doc_ids = chosen["doc_id"].filter(pa.array(is_labelled))
            rows = np.flatnonzero(takes)[is_labelled]
            own = np.empty(len(rows), PLACE)
            own["shard"], own["start"], own["stop"] = shard, offsets[rows], offsets[rows + 1]
            is_empty = own["start"] == own["stop"]
            if is_empty.any():
                name = doc_ids[int(np.argmax(is_empty))].as_py()
                raise ValueError(f"document {name!r} of {dataset.folder.uri} has a label, but no tokens")
            if at_most:
                numbers.append(hashed(doc_ids, seed + _SEED_OF_FEW))
            self.num_unlabelled += int((~is_labelled).sum())
            self._values.append(values)
            places.append(own)
            targets.append(found.take(is_labelled))
        self._places = np.concatenate(places)
        self.targets = Targets.joined(targets)
        if at_most > len(self):
            raise ValueError(f"only {len(self):,} documents have a label: {at_most:,} are too many to ask for")
        if at_most:
            few = _few(self.targets, np.concatenate(numbers), at_most)
            self._places, self.targets = self._places[few], self.targets.take(few)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of tokens of each document, (N,) int32."""
        return self._places["stop"] - self._places["start"]

    def tokens(self, index: int) -> np.ndarray:
        """Return a document's tokens, (T,): a view into its shard, in the shard's type."""
        shard, start, stop = self._places[index].tolist()
        return self._values[shard][start:stop]

    def doc_ids(self) -> Iterator[pa.ChunkedArray]:
        """Yield the documents' ids shard by shard: joined, they are in the order of the documents' numbers."""
        ends = np.searchsorted(self._places["shard"], np.arange(len(self._values)), side="right")
        for table, starts in zip(self._dataset.tables(), np.split(self._places["start"], ends[:-1]), strict=True):
            _, offsets = flat_tokens(table["tokens"])
            # Documents without tokens begin at the same place as the one behind them, which is meant.
            yield table["doc_id"].take(pa.array(np.searchsorted(offsets, starts, side="right") - 1))


def _few(targets: Targets, numbers: np.ndarray, count: int) -> np.ndarray:
    """Return which `count` documents are taken, rising: those that come first within their class, then by number."""
    ranks = np.zeros(len(numbers), np.int64)
    if targets.objective == "single-label":
        order = np.lexsort((numbers, targets.values))
        classes = targets.values[order]
        ranks[order] = np.arange(len(order)) - np.searchsorted(classes, classes)
    return np.sort(np.lexsort((numbers, ranks))[:count])
