"""Pairs of queries and documents out of a token dataset's own fields: training for search that needs no labels.

Half of the queries are the query field (a title), the other half a random span of the document itself (the inverse
cloze task, Lee et al. 2019). Which half, and which span, depends on seed, epoch and pair alone, so the number of
workers changes nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

SPAN_TOKENS = (8, 30)
"""Shortest and longest random span that stands for a query."""
SPAN_FRACTION = 0.5
"""Part of the queries that are a random span of their document."""
TAKEN_OUT = 0.5
"""Part of these spans that are not left in the document, so that it must be known by more than the query's own words."""
WITH_QUERY_FIELD = 0.5
"""Part of these spans whose document has its query field in front, as a document has that is searched for."""
PLACE = np.dtype([(name, np.int64) for name in ("shard", "query_start", "query_stop", "start", "stop")])
"""Where a pair lies: its shard, and places in that shard's flat tokens."""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Padded ids (B, T) and lengths (B,) of queries and documents, and keys that tell which of them are equal."""

    query_ids: np.ndarray
    query_lengths: np.ndarray
    document_ids: np.ndarray
    document_lengths: np.ndarray
    keys: np.ndarray
    """(B, 2) int64: hash of the query, hash of the whole document."""


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
        query, document = names.index(query_field), names.index(document_field)
        self._values: list[np.ndarray] = []
        places = [np.empty(0, PLACE)]
        for shard, table in enumerate(dataset.tables()):
            values, offsets = flat_tokens(table["tokens"])
            # Fields are counted from their own document's first token: every document has one start and one end for
            # each text column, in the order of the columns. Here they become places in the whole shard's tokens.
            starts = flat_tokens(table["field_starts"])[0].reshape(-1, len(names)) + offsets[:-1, None]  # (N, columns)
            ends = flat_tokens(table["field_ends"])[0].reshape(-1, len(names)) + offsets[:-1, None]
            rows = np.empty(table.num_rows, PLACE)
            rows["shard"] = shard
            rows["query_start"], rows["query_stop"] = starts[:, query], ends[:, query]
            rows["start"], rows["stop"] = starts[:, document], ends[:, document]
            has_both = (rows["query_stop"] > rows["query_start"]) & (rows["stop"] > rows["start"])
            places.append(rows[has_both])
            self._values.append(values)
        self._places = np.concatenate(places)

    def __len__(self) -> int:
        return len(self._places)

    def batches(
        self,
        epoch: int,
        first: int,
        *,
        global_batch_size: int,
        rows: slice,
        seed: int,
        frame: tuple[Sequence[int], Sequence[int]],
    ) -> Iterator[PairBatch]:
        """Yield this worker's rows of the epoch's batches, from `first` on; an incomplete last batch is left out.

        `frame` are the ids that stand in front of a document and behind it, and so of a query.
        """
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for number in range(first, len(self) // global_batch_size):
            chosen = order[number * global_batch_size : (number + 1) * global_batch_size][rows]
            yield self._batch([self._draw(int(pair), epoch, seed, frame) for pair in chosen])

    def _draw(
        self, pair: int, epoch: int, seed: int, frame: tuple[Sequence[int], Sequence[int]]
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return query and document, each in its frame (backward: reversed whole), and the document's key."""
        shard, query_start, query_stop, start, stop = self._places[pair].tolist()
        values = self._values[shard]
        title, document = values[query_start:query_stop], values[start:stop]
        random = np.random.default_rng([seed, epoch, pair])
        query, rest, front = title, document, title[:0]
        if random.random() < SPAN_FRACTION:
            query, rest = _cut_out(document, random)
            front = title if random.random() < WITH_QUERY_FIELD else front
        cut = np.concatenate([front, _random_span(rest, self._document_tokens, random)])
        begin, end = (np.array(ids, np.int64) for ids in frame)
        step = -1 if self._backward else 1
        framed_query, framed = (np.concatenate([begin, tokens, end])[::step] for tokens in (query, cut))
        return framed_query, framed, _key(document)

    def _batch(self, drawn: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> PairBatch:
        queries, documents = pad([pair[0] for pair in drawn]), pad([pair[1] for pair in drawn])
        keys = np.array([(_key(query), key) for query, _, key in drawn], np.int64)
        return PairBatch(*queries, *documents, keys)


def _cut_out(document: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a random span of a document, and the document, without the span if that leaves most of it."""
    length = int(random.integers(SPAN_TOKENS[0], SPAN_TOKENS[1] + 1))
    start = int(random.integers(0, max(0, len(document) - length) + 1))
    span = document[start : start + length]
    if random.random() < TAKEN_OUT and len(document) > 2 * len(span):
        document = np.concatenate([document[:start], document[start + length :]])
    return span, document


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
