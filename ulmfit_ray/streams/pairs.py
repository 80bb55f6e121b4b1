"""Pairs of queries and documents: a token dataset's own fields, which need no labels, and pairs that people have.

A document's query is its query field (a title) or a random span of the document itself. Which of them, and which
span, depends on seed, epoch and pair alone, so the number of workers changes nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.streams.spans import SpanOptions, draw_span_query, span_of

PLACE = np.dtype([(name, np.int64) for name in ("shard", "query_start", "query_stop", "start", "stop")])
"""Where a pair lies: its shard, and places in that shard's flat tokens."""
Frame = tuple[Sequence[int], Sequence[int]]
"""The ids that stand in front of every document and behind it."""


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
    """The documents of a token dataset whose query field and document field both have tokens.

    Without a query field all documents that have tokens: every query is a span then.

    Raises:
        ValueError: the token dataset does not have these fields.
    """

    def __init__(self, dataset: TokenDataset, query_field: str | None, document_field: str, frame: Frame) -> None:
        names = dataset.text_columns
        for name in (query_field, document_field):
            if name is not None and name not in names:
                raise ValueError(
                    f"{dataset.folder.uri} has no field {name!r} to make pairs of; its fields are {', '.join(names)}:\n"
                    "    name two of them, as in --pairs title:text, or one for spans of it alone, as in --pairs text"
                )
        self.has_query_field = query_field is not None
        self._values: list[np.ndarray] = []
        places = [np.empty(0, PLACE)]
        for shard, table in enumerate(dataset.tables()):
            values, offsets = flat_tokens(table["tokens"])
            bounds = _field_bounds(table, offsets, names, frame)
            rows = np.zeros(table.num_rows, PLACE)
            rows["shard"] = shard
            rows["start"], rows["stop"] = bounds[document_field]
            is_pair = rows["stop"] > rows["start"]
            if query_field is not None:
                rows["query_start"], rows["query_stop"] = bounds[query_field]
                is_pair &= rows["query_stop"] > rows["query_start"]
            places.append(rows[is_pair])
            self._values.append(values)
        self._places = np.concatenate(places)

    def __len__(self) -> int:
        return len(self._places)

    def texts(self, pair: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of query field (none without one) and document field."""
        shard, query_start, query_stop, start, stop = self._places[pair].tolist()
        values = self._values[shard]
        return values[query_start:query_stop], values[start:stop]


def _field_bounds(
    table: pa.Table, offsets: np.ndarray, names: Sequence[str], frame: Frame
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return where each field of the documents begins and ends in the shard's flat tokens."""
    if len(names) == 1:
        begin, end = map(len, frame)
        return {names[0]: (offsets[:-1] + begin, offsets[1:] - end)}
    # Fields are counted from their own document's first token: every document has one start and one end for each
    # text column, in the order of the columns.
    starts, ends = (
        flat_tokens(table[column])[0].reshape(-1, len(names)) + offsets[:-1, None]  # (N, columns)
        for column in ("field_starts", "field_ends")
    )
    return {name: (starts[:, column], ends[:, column]) for column, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class GivenPairs:
    """Pairs that people have: flat ids and offsets of the queries, and of the documents that they should find."""

    queries: tuple[np.ndarray, np.ndarray]
    documents: tuple[np.ndarray, np.ndarray]

    def __len__(self) -> int:
        return len(self.queries[1]) - 1

    def texts(self, pair: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of query and document."""
        query, document = (
            values[offsets[pair] : offsets[pair + 1]] for values, offsets in (self.queries, self.documents)
        )
        return query, document


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs to train on, and how queries and documents are drawn from them.

    A given pair's query stays as it is. Documents are cut to a random span of `document_tokens`, and so is what stands
    in front of one.
    """

    fields: FieldPairs
    given: GivenPairs | None = None
    spans: SpanOptions = field(default_factory=SpanOptions)
    document_tokens: int
    frame: Frame
    backward: bool = False

    def __len__(self) -> int:
        return len(self.fields) + (0 if self.given is None else len(self.given))

    def batches(self, epoch: int, first: int, *, global_batch_size: int, rows: slice, seed: int) -> Iterator[PairBatch]:
        """Yield this worker's rows of the epoch's batches, from `first` on; an incomplete last batch is left out."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for number in range(first, len(self) // global_batch_size):
            chosen = order[number * global_batch_size : (number + 1) * global_batch_size][rows]
            yield _batch([self._draw(int(pair), np.random.default_rng([seed, epoch, pair])) for pair in chosen])

    def _draw(self, pair: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """Return query and document, each in its frame (backward: reversed whole), and the document's key."""
        if pair >= len(self.fields):
            assert self.given is not None
            query, document = self.given.texts(pair - len(self.fields))
            front, rest = query[:0], document
        else:
            query, document = self.fields.texts(pair)
            front, rest = query[:0], document
            if not self.fields.has_query_field or random.random() < self.spans.share:
                query, front, rest = draw_span_query(query, document, self.spans, random)
        start, stop = span_of(len(rest), self.document_tokens, random)
        framed = self._framed(np.concatenate([front[: self.document_tokens], rest[start:stop]]))
        return self._framed(query), framed, _key(document)

    def _framed(self, tokens: np.ndarray) -> np.ndarray:
        begin, end = (np.array(ids, np.int64) for ids in self.frame)
        return np.concatenate([begin, tokens, end])[:: -1 if self.backward else 1]


def _batch(drawn: Sequence[tuple[np.ndarray, np.ndarray, int]]) -> PairBatch:
    queries, documents = pad([pair[0] for pair in drawn]), pad([pair[1] for pair in drawn])
    keys = np.array([(_key(query), key) for query, _, key in drawn], np.int64)
    return PairBatch(*queries, *documents, keys)


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
