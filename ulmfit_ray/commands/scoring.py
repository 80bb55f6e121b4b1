"""Scores of all queries against all documents: what `evaluate retrieval` compares and `search --hybrid` ranks by.

All of it is held in memory: the vectors, the index of the words, and a number for each query and document. What a
search index does instead stands in indexed.py.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ulmfit_ray.commands.shards import same_documents, shard_tables, vector_blocks
from ulmfit_ray.config import ConfigError
from ulmfit_ray.retrieval.bm25 import BM25Index, BM25Options
from ulmfit_ray.retrieval.search import normalize_rows
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.rules import SPECIAL_TOKENS
from ulmfit_ray.text.stop_words import silent_ids
from ulmfit_ray.text.vocab import Vocab

if TYPE_CHECKING:
    from ulmfit_ray.joint_encoder import JointEncoder


def check_documents(embeddings: EmbeddingDataset, tokens: TokenDataset) -> None:
    """Raise ConfigError if the tokens are of other documents than the vectors."""
    if not same_documents(tokens, embeddings):
        raise ConfigError(f"{embeddings.folder.uri} was not made from {tokens.folder.uri}: their documents differ")


def all_vectors(embeddings: EmbeddingDataset) -> np.ndarray:
    """Return the vectors of all documents, (N, D)."""
    return np.concatenate(list(vector_blocks(embeddings)))


def cosines(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the cosines (Q, N) of queries (Q, D) and documents (N, D)."""
    scores: np.ndarray = normalize_rows(queries) @ normalize_rows(documents).T
    return scores


def index_words(tokens: TokenDataset, options: BM25Options) -> BM25Index:
    """Return the index of the words of all documents."""
    vocab = Vocab.from_json(tokens.folder.read_json("vocab.json"))
    is_silent = np.zeros(len(vocab), bool)
    if options.stop_words:
        is_silent = silent_ids(vocab, tokens.folder.read_json("tokenizer.json")["lang"])
    return BM25Index.of(
        lambda: (_telling(*flat_tokens(table["tokens"]), is_silent) for table in shard_tables(tokens)),
        tokens.manifest.counts.num_documents,
        len(vocab),
        options,
    )


def _telling(values: np.ndarray, offsets: np.ndarray, is_silent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return documents, as (values, offsets), without words that say nothing."""
    is_telling = ~is_silent[values]
    return values[is_telling], np.concatenate([[0], is_telling.cumsum()])[offsets]


def known_words(ids: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return queries without words outside the vocabulary: xxunk (id 0) says nothing about a document."""
    return [query[query > 0] for query in ids]


def is_silent(encoder: "JointEncoder", query: str) -> bool:
    """Tell whether a query has no word that any of the models knows; marks of our own like xxmaj are no words."""
    ids = (own.numericalize([query])[0] for own in encoder.encoders)
    return not any((found >= len(SPECIAL_TOKENS)).any() for found in ids)
