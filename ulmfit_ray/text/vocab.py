"""The vocabulary: which tokens a model can know, and how often the corpus holds them.

The special tokens come first, in fastai's order, then the others by falling count. Tokens of equal count are sorted
by the token itself, so that two runs give the same vocabulary; fastai sorts them by first occurrence, so it may choose
others of them at the size limit. Ids are frequency ranks, so the first N entries are the vocabulary of a smaller model.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ulmfit_ray.text.rules import PAD, SPECIAL_TOKENS, UNK

UNK_ID, PAD_ID, BOS_ID = 0, 1, 2


@dataclass(frozen=True)
class Vocab:
    """Tokens in the order of their ids, with occurrences and document counts over the whole corpus."""

    itos: list[str]
    counts: np.ndarray
    documents: np.ndarray
    num_documents: int
    num_tokens: int

    def __len__(self) -> int:
        return len(self.itos)

    @cached_property
    def stoi(self) -> dict[str, int]:
        """Token -> id; a token that is missing here is xxunk (0)."""
        return {token: token_id for token_id, token in enumerate(self.itos)}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the token list in order, nothing else: counts may differ between equal vocabularies."""
        return hashlib.sha256(json.dumps(self.itos).encode()).hexdigest()

    def numericalize(self, tokens: Iterable[str]) -> np.ndarray:
        """Return int64 ids, xxunk for tokens that are not here."""
        stoi = self.stoi
        return np.array([stoi.get(token, UNK_ID) for token in tokens], dtype=np.int64)

    def token_id_type(self) -> pa.DataType:
        """Return the narrowest Arrow type that holds every id: 60,000 words fit uint16 and halve the shards."""
        return pa.uint16() if len(self) - 1 <= np.iinfo(np.uint16).max else pa.uint32()

    def ids_of(self, tokens: pa.Array) -> np.ndarray:
        """Return the id of each token of an Arrow array, 0 (xxunk) where it is not here; for whole dictionaries."""
        found = pc.index_in(tokens, value_set=pa.array(self.itos, pa.string()))
        return pc.fill_null(found, UNK_ID).to_numpy(zero_copy_only=False).astype(np.uint32)

    def idf(self) -> np.ndarray:
        """Return float32 pooling weights, max(0.02, ln(N / (1 + documents))); 3.0 for xxunk.

        Never 0, so that a weighted mean never divides by zero (a document has a token at least). All 1 if nothing was
        counted, as of a vocabulary that comes from elsewhere.
        """
        if not self.num_documents:
            return np.ones(len(self), np.float32)
        weights = np.log(self.num_documents / (1.0 + self.documents))
        weights = np.maximum(weights, 0.02).astype(np.float32)
        weights[UNK_ID] = 3.0
        return weights

    def to_json(self) -> dict[str, Any]:
        """Return the content of vocab.json."""
        return {
            "tokens": self.itos,
            "counts": self.counts.tolist(),
            "documents": self.documents.tolist(),
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Vocab":
        """Rebuild a vocabulary from vocab.json."""
        return cls(
            itos=content["tokens"],
            counts=np.array(content["counts"], dtype=np.int64),
            documents=np.array(content["documents"], dtype=np.int64),
            num_documents=content["num_documents"],
            num_tokens=content["num_tokens"],
        )


def most_frequent(types: pa.Table, *, max_vocab: int, min_freq: int) -> pa.Table:
    """Return all special tokens and the `max_vocab` most frequent other rows of (token, count, documents).

    Other tokens with a count under `min_freq` are left out. A partition can be reduced in this way before it is merged
    with others: a token that is kept of the whole is also kept of its partition.
    """
    is_special = pc.is_in(types["token"], value_set=pa.array(SPECIAL_TOKENS))
    words = types.filter(pc.and_(pc.invert(is_special), pc.greater_equal(types["count"], min_freq)))
    # Python's string order (by code point), which is the order of the UTF-8 bytes that Arrow compares.
    words = words.sort_by([("count", "descending"), ("token", "ascending")]).slice(0, max_vocab)
    return pa.concat_tables([types.filter(is_special), words])


def build_vocab(
    parts: Sequence[pa.Table], *, max_vocab: int, min_freq: int, num_documents: int, num_tokens: int
) -> Vocab:
    """Merge partitions of types (each token in one of them only) into the vocabulary."""
    merged = most_frequent(pa.concat_tables(parts), max_vocab=max_vocab, min_freq=min_freq).to_pydict()
    counts = dict(zip(merged["token"], zip(merged["count"], merged["documents"], strict=True), strict=True))
    words = [token for token in merged["token"] if token not in SPECIAL_TOKENS]
    itos = [*SPECIAL_TOKENS, *words][:max_vocab]
    # xxunk and xxpad stand for other tokens and padding: occurrences of these very words in the text do not count.
    pairs = [(0, 0) if token in (UNK, PAD) else counts.get(token, (0, 0)) for token in itos]
    occurrences, documents = np.array(pairs, dtype=np.int64).T
    return Vocab(itos, occurrences, documents, num_documents, num_tokens)
