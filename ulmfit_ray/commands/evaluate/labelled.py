"""The labelled documents of a token dataset as a command reads them: one shard after another, however large it is.

N documents with a label, C labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.streams.labels import LabelColumn, Targets


@dataclass(frozen=True, slots=True)
class LabelledShard:
    """The labelled documents of a shard, in their order."""

    table: pa.Table
    """The whole shard."""
    rows: np.ndarray
    """Which of its rows they are, rising."""

    def documents(self) -> list[np.ndarray]:
        """Return their token ids in the order of the text: views into the shard."""
        values, offsets = flat_tokens(self.table["tokens"])
        return [values[offsets[row] : offsets[row + 1]] for row in self.rows.tolist()]


class LabelledShards:
    """The documents that have a label, and what it is; a pass over the column, and another for each iteration.

    Raises:
        ValueError: a label is not one of `labels`, a labelled document has no tokens, or none has a label.
        DamagedError: a shard cannot be read.
    """

    def __init__(self, tokens: TokenDataset, column: LabelColumn, labels: Sequence[str]) -> None:
        self.tokens = tokens
        self.objective = column.objective
        self.labels = tuple(labels)
        self._rows: list[np.ndarray] = []
        parts, lengths = [], []
        for table in shard_tables(tokens):
            found = column.targets(table, labels)
            rows = np.flatnonzero(found.is_labelled())
            lengths.append(np.diff(flat_tokens(table["tokens"])[1])[rows])
            _refuse_empty(tokens, table, rows[lengths[-1] == 0])
            parts.append(found.take(rows))
            self._rows.append(rows)
        self.num_tokens = np.concatenate(lengths)
        """Of each document, (N,)."""
        self.targets = dense_targets(Targets.joined(parts), len(labels))
        """Classes (N,), zeros and ones (N, C), or numbers (N,)."""
        self.num_unlabelled = tokens.manifest.counts.num_documents - len(self)
        if not len(self):
            raise ValueError(f"no document of {tokens.folder.uri} has a label in column {column.column!r}")

    def __len__(self) -> int:
        return len(self.num_tokens)

    def __iter__(self) -> Iterator[LabelledShard]:
        for table, rows in zip(shard_tables(self.tokens), self._rows, strict=True):
            yield LabelledShard(table, rows)

    def row(self, number: int) -> dict[str, Any]:
        """Return the columns of a document, by its number among the labelled ones."""
        for row, own in zip(self.tokens.shards, self._rows, strict=True):
            if number < len(own):
                found: dict[str, Any] = self.tokens.read(row.shard).slice(int(own[number]), 1).to_pylist()[0]
                return found
            number -= len(own)
        raise IndexError(number)


def dense_targets(targets: Targets, num_labels: int) -> np.ndarray:
    """Return what `Targets.dense` does; numbers keep all their digits."""
    return targets.values if targets.objective == "regression" else targets.dense(num_labels)


def _refuse_empty(tokens: TokenDataset, table: pa.Table, empty: np.ndarray) -> None:
    if len(empty):
        name = table["doc_id"][int(empty[0])].as_py()
        raise ValueError(f"document {name!r} of {tokens.folder.uri} has a label, but no tokens")
