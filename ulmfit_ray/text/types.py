"""The distinct tokens ("types") of one shard, numbered by first occurrence, with their counts.

Numbers depend on the shard's text alone, never on what a worker has seen before, so that two attempts at a
shard write the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ulmfit_ray.text.rules import BOS, FLD
from ulmfit_ray.text.tokenizers.kinds import Tokenizer


def field_prefixes(num_fields: int, mark_fields: bool) -> Iterator[tuple[str, ...]]:
    """Yield the tokens that stand in front of each field: `xxfld n` or none."""
    for number in range(1, num_fields + 1):
        yield (FLD, str(number)) if mark_fields else ()


def document_tokens(tokenizer: Tokenizer, fields: Sequence[str]) -> list[str]:
    """Return the tokens of a whole document: xxbos, then each field, with its mark if marks are on."""
    tokens = [BOS]
    for prefix, text in zip(field_prefixes(len(fields), tokenizer.settings.mark_fields), fields, strict=True):
        tokens += [*prefix, *tokenizer(text)]
    return tokens


@dataclass(frozen=True, slots=True)
class NumberedDocuments:
    """The local ids of some documents, joined, and where documents and their fields lie in them."""

    ids: np.ndarray
    """uint32 (tokens,)"""
    bounds: np.ndarray
    """int64 (documents + 1,): document i is `ids[bounds[i]:bounds[i + 1]]`"""
    field_starts: np.ndarray
    """int64 (documents, fields): where a field's own tokens start, counted from the document's first token"""
    field_ends: np.ndarray


class TypeTable:
    """Numericalizes the documents of one shard against a dictionary that grows as they come."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, int] = {}
        self._counts = np.zeros((2, 0), np.int64)

    def _id(self, token: str) -> int:
        return self._ids.setdefault(token, len(self._ids))

    def add(self, documents: Sequence[Sequence[str]]) -> NumberedDocuments:
        """Return the local ids of documents, each given as its fields (all have equally many)."""
        num_fields = len(documents[0])
        marks = field_prefixes(num_fields, self._tokenizer.settings.mark_fields)
        prefixes = [
            [self._id(token) for token in ((BOS, *mark) if field == 0 else mark)] for field, mark in enumerate(marks)
        ]
        found = self._tokenizer.tokenize([text for fields in documents for text in fields])
        local = self._local_ids(found.types)[found.ids]
        widths = np.tile([len(prefix) for prefix in prefixes], len(documents))
        ends = found.bounds[1:] + np.cumsum(widths)
        starts = ends - np.diff(found.bounds)
        ids = np.empty(int(ends[-1]), np.uint32)
        is_prefix = np.zeros(len(ids), bool)
        for field, prefix in enumerate(prefixes):
            for place, token_id in enumerate(prefix):
                places = starts[field::num_fields] - len(prefix) + place
                ids[places], is_prefix[places] = token_id, True
        ids[~is_prefix] = local
        bounds = np.concatenate([[0], ends[num_fields - 1 :: num_fields]])
        self._count(ids, bounds)
        places = np.stack([starts, ends]).reshape(2, -1, num_fields) - bounds[:-1, None]
        return NumberedDocuments(ids, bounds, places[0], places[1])

    def _local_ids(self, types: list[str]) -> np.ndarray:
        ids = self._ids
        return np.array([ids.setdefault(token, len(ids)) for token in types], np.uint32)

    def _count(self, ids: np.ndarray, bounds: np.ndarray) -> None:
        """Count the occurrences of each type, and the documents that hold it."""
        size = len(self._ids)
        keys = np.repeat(np.arange(len(bounds) - 1, dtype=np.int64) * size, np.diff(bounds)) + ids
        keys.sort()
        firsts = keys[np.diff(keys, prepend=-1) != 0] % size
        counts = np.zeros((2, size), np.int64)
        counts[:, : self._counts.shape[1]] = self._counts
        counts[0] += np.bincount(ids, minlength=size)
        counts[1] += np.bincount(firsts, minlength=size)
        self._counts = counts

    def to_table(self) -> pa.Table:
        """Return columns token, count and documents; row i is local id i."""
        return pa.table(
            {"token": pa.array(list(self._ids), pa.string()), "count": self._counts[0], "documents": self._counts[1]}
        )
