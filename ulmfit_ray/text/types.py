"""The distinct tokens ("types") of one shard, numbered by first occurrence, with their counts.

Numbers depend on the shard's text alone, never on what a worker has seen before, so that two attempts at a
shard write the same bytes.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ulmfit_ray.text.rules import BOS
from ulmfit_ray.text.tokenizers.spacy_words import SpacyTokenizer


class TypeTable:
    """Numericalizes documents against a dictionary that grows as they come."""

    def __init__(self, tokenizer: SpacyTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, int] = {}
        self._ids_by_hash: dict[int, int] = {}
        self._counts: list[np.ndarray] = []
        self._documents: list[np.ndarray] = []

    def _id(self, token: str) -> int:
        return self._ids.setdefault(token, len(self._ids))

    def _field(self, text: str) -> list[int]:
        ids = self._ids_by_hash
        numbers = []
        for token_hash in self._tokenizer.spell(text):
            number = ids.get(token_hash)
            if number is None:
                # Two hashes may become one token: "\n " and a literal "\n\u2581".
                number = ids[token_hash] = self._id(self._tokenizer.spelling(token_hash))
            numbers.append(number)
        return numbers

    def add(self, fields: Sequence[str]) -> tuple[np.ndarray, list[int], list[int]]:
        """Return one document's local ids (uint32) and, per field, where its own tokens start and end."""
        numbers, starts, ends = [self._id(BOS)], [], []
        for prefix, text in zip(self._tokenizer.prefixes(len(fields)), fields, strict=True):
            numbers += [self._id(token) for token in prefix]
            starts.append(len(numbers))
            numbers += self._field(text)
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
