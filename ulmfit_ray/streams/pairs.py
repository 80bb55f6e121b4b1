"""Pairs of queries and documents out of a token dataset's own fields: training for search that needs no labels.

Half of the queries are not the query field but a random span of the document (the inverse cloze task, Lee et al.
2019). What is drawn for a pair depends on seed, epoch and pair alone, so worker counts change nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

SPAN_TOKENS = (8, 30)
SPAN_FRACTION = 0.5


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Padded ids (B, T) and lengths (B,) of queries and documents, and keys by which duplicates are known."""

    query_ids: np.ndarray
    query_lengths: np.ndarray
    document_ids: np.ndarray
    document_lengths: np.ndarray
    keys: np.ndarray
    """(B, 2) int64: of the query as given, of the whole document."""


class FieldPairs:
    """The documents whose query field and document field both have tokens.

    Raises:
        ValueError: the token dataset does not have these two fields.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        query_field: str,
        document_field: str,
        *,
        document_tokens: int,
        backward: bool = False,
    ) -> None:
        names = dataset.text_columns
        for name in (query_field, document_field):
            if name not in names or len(names) < 2:
                raise ValueError(
                    f"{dataset.folder.uri} has no field {name!r} to make pairs of; its fields are {', '.join(names)}"
                )
        self._document_tokens, self._backward = document_tokens, backward
        columns = names.index(query_field), names.index(document_field)
        self._values: list[np.ndarray] = []
        places = []
        for shard, table in enumerate(dataset.tables()):
            values, offsets = flat_tokens(table["tokens"])
            starts, _ = flat_tokens(table["field_starts"])
            ends, _ = flat_tokens(table["field_ends"])
            begin, end = starts.reshape(-1, len(names)).astype(np.int64), ends.reshape(-1, len(names)).astype(np.int64)
            base = offsets[:-1, None]
            spans = [(base + begin)[:, c] for c in columns], [(base + end)[:, c] for c in columns]
            rows = np.stack([np.full(len(base), shard), spans[0][0], spans[1][0], spans[0][1], spans[1][1]], axis=1)
            places.append(rows[(rows[:, 2] > rows[:, 1]) & (rows[:, 4] > rows[:, 3])])
            self._values.append(values)
        self._places = np.concatenate(places) if places else np.empty((0, 5), np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def batches(
        self, epoch: int, first: int, *, global_batch_size: int, rows: slice, seed: int, bos_id: int
    ) -> Iterator[PairBatch]:
        """Yield this worker's rows of the epoch's batches, from `first` on; an incomplete last batch is left out."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for number in range(first, len(self) // global_batch_size):
            chosen = order[number * global_batch_size : (number + 1) * global_batch_size][rows]
            yield self._batch([self._draw(int(pair), epoch, seed, bos_id) for pair in chosen])

    def _draw(self, pair: int, epoch: int, seed: int, bos_id: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Return query and document, each with its xxbos (backward: reversed whole), and the document's key."""
        shard, query_start, query_stop, start, stop = self._places[pair]
        values = self._values[shard]
        document = values[start:stop]
        random = np.random.default_rng([seed, epoch, pair])
        query = values[query_start:query_stop]
        if random.random() < SPAN_FRACTION:
            query = _random_span(document, int(random.integers(SPAN_TOKENS[0], SPAN_TOKENS[1] + 1)), random)
        cut = _random_span(document, self._document_tokens, random)
        texts = np.append(bos_id, query), np.append(bos_id, cut)
        if self._backward:
            texts = texts[0][::-1], texts[1][::-1]
        return *texts, _key(document)

    def _batch(self, drawn: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> PairBatch:
        queries, documents = pad([pair[0] for pair in drawn]), pad([pair[1] for pair in drawn])
        keys = np.array([(_key(query), key) for query, _, key in drawn], np.int64)
        return PairBatch(*queries, *documents, keys)


def _random_span(tokens: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    start = int(random.integers(0, max(0, len(tokens) - length) + 1))
    return tokens[start : start + length]


def _key(tokens: np.ndarray) -> int:
    digest = hashlib.blake2b(tokens.astype(np.int64).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def pad(documents: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (B, longest), zeros behind each document's own, and lengths (B,)."""
    lengths = np.array([len(document) for document in documents], np.int64)
    ids = np.zeros((len(documents), int(lengths.max())), np.int64)
    for row, document in zip(ids, documents, strict=True):
        row[: len(document)] = document
    return ids, lengths
