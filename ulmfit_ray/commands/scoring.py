"""Scores of all queries against all documents: what `evaluate retrieval` compares and `search --hybrid` ranks by.

All of it is held in memory: the vectors, the index of the words, and a number for each query and document.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.config import ConfigError
from ulmfit_ray.retrieval.lexical import LexicalIndex, standardize
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset, vectors_of
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.rules import SPECIAL_TOKENS

if TYPE_CHECKING:
    from ulmfit_ray.document_encoder import DocumentEncoder


def fitting_documents(embeddings: EmbeddingDataset, tokens: TokenDataset, encoder: "DocumentEncoder") -> list[str]:
    """Return the ids of the documents, in their order.

    Raises:
        ConfigError: the tokens are of other documents than the vectors.
        ValueError: the tokens are of another vocabulary than the model's.
    """
    encoder.directory.check_tokens(tokens.manifest.vocab, tokens.folder.uri)
    doc_ids = [str(doc_id) for table in shard_tables(tokens) for doc_id in table["doc_id"]]
    if doc_ids != [str(doc_id) for table in shard_tables(embeddings) for doc_id in table["doc_id"]]:
        raise ConfigError(f"{embeddings.folder.uri} was not made from {tokens.folder.uri}: their documents differ")
    return doc_ids


def all_vectors(embeddings: EmbeddingDataset) -> np.ndarray:
    """Return the vectors of all documents, (N, D)."""
    return np.concatenate([vectors_of(table) for table in shard_tables(embeddings)])


def cosines(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the cosines (Q, N) of queries (Q, D) and documents (N, D)."""
    scores: np.ndarray = normalize_rows(queries) @ normalize_rows(documents).T
    return scores


def index_words(tokens: TokenDataset, vocab_size: int) -> LexicalIndex:
    """Return the index of the words of all documents."""
    return LexicalIndex((flat_tokens(table["tokens"]) for table in shard_tables(tokens)), vocab_size)


def known_words(ids: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return queries without words outside the vocabulary: xxunk (id 0) says nothing about a document."""
    return [query[query > 0] for query in ids]


def says_something(ids: np.ndarray) -> bool:
    """Tell whether a query has at least one word of the vocabulary; marks of our own like xxmaj are no words."""
    return bool((ids >= len(SPECIAL_TOKENS)).any())


def together(bm25: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the hybrid scores (Q, N): the sum of both, each standardized over all documents."""
    return standardize(bm25) + standardize(vectors)
