"""The distinct tokens ("types") of one shard, numbered by first occurrence, with their counts.

Numbers depend on the shard's text alone, never on what a worker has seen before, so that two attempts at a
shard write the same bytes.
"""

from collections.abc import Iterator, Sequence

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


class TypeTable:
    """Numericalizes the documents of one shard against a dictionary that grows as they come."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._mark_fields = tokenizer.settings.mark_fields
        self._ids: dict[str, int] = {}
        self._numericalize = tokenizer.numericalizer(self._id)
        self._counts: list[np.ndarray] = []
        self._documents: list[np.ndarray] = []

    def _id(self, token: str) -> int:
        return self._ids.setdefault(token, len(self._ids))

    def add(self, fields: Sequence[str]) -> tuple[np.ndarray, list[int], list[int]]:
        """Return one document's local ids (uint32) and, per field, where its own tokens start and end."""
        numbers, starts, ends = [self._id(BOS)], [], []
        for prefix, text in zip(field_prefixes(len(fields), self._mark_fields), fields, strict=True):
            numbers += [self._id(token) for token in prefix]
            starts.append(len(numbers))
            numbers += self._numericalize(text)
            ends.append(len(numbers))
        ids = np.array(numbers, dtype=np.uint32)
        types, counts = np.unique(ids, return_counts=True)
        self._documents.append(types)
        self._counts.append(counts)
        return ids, starts, ends

    def to_table(self) -> pa.Table:
        """Return columns token, count and documents; row i is local id i."""
        size = len(self._ids)
        seen = np.concatenate(self._documents) if self._documents else np.empty(0, np.uint32)
        counts = np.concatenate(self._counts) if self._counts else np.empty(0, np.int64)
        return pa.table(
            {
                "token": pa.array(list(self._ids), pa.string()),
                "count": np.bincount(seen, counts, minlength=size).astype(np.int64),
                "documents": np.bincount(seen, minlength=size).astype(np.int64),
            }
        )
