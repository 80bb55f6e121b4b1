"""The systems that `evaluate retrieval` compares, and what each of them finds.

They are the vectors and their blocks, TF-IDF, BM25 with the usual constants and, if others are asked for, with those;
and each of the latter three together with the vectors.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ulmfit_ray.commands.scoring import (
    all_vectors,
    check_documents,
    cosines,
    index_words,
    is_silent,
    known_words,
)
from ulmfit_ray.commands.shards import document_ids, shard_tables
from ulmfit_ray.retrieval.bm25 import BM25Options
from ulmfit_ray.retrieval.hybrid import together
from ulmfit_ray.retrieval.lexical import LexicalIndex
from ulmfit_ray.retrieval.search import Hits, best
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens

if TYPE_CHECKING:
    from ulmfit_ray.joint_encoder import JointEncoder

VECTORS, TF_IDF, BM25, TUNED_BM25 = "vectors", "tfidf", "bm25", "tuned bm25"
BLOCK = 64
"""Queries that are scored at once: a score for each of them and each document is held."""
Found = dict[str, Hits]
"""System -> the rows of its best documents and their scores, (Q, depth)."""


class Systems:
    """All documents, ready to be scored by every system.

    Raises:
        ConfigError: the tokens are of other documents than the vectors.
        ValueError: the tokens are of another vocabulary than the model's.
    """

    def __init__(
        self, embeddings: EmbeddingDataset, tokens: TokenDataset, encoder: "JointEncoder", bm25: BM25Options
    ) -> None:
        encoder.first.directory.check_tokens(tokens.manifest.vocab, tokens.folder.uri)
        check_documents(embeddings, tokens)
        self.doc_ids = [doc_id for ids in document_ids(embeddings) for doc_id in ids.to_pylist()]
        self._encoder = encoder
        self._vectors, self._blocks = all_vectors(embeddings), embeddings.blocks
        shards = (flat_tokens(table["tokens"]) for table in shard_tables(tokens))
        self._tf_idf = LexicalIndex(shards, len(encoder.first.vocab))
        self._bm25 = {BM25: index_words(tokens, BM25Options())}
        if bm25 != BM25Options():
            self._bm25[TUNED_BM25] = index_words(tokens, bm25)

    @property
    def names(self) -> list[str]:
        """Return the names of all systems, in the order of a table."""
        blocks = [block.name for block in self._blocks] if len(self._blocks) > 1 else []
        lexical = [TF_IDF, *self._bm25]
        return [VECTORS, *blocks, *lexical, *(_with_vectors(name) for name in lexical)]

    def scores(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return each system's scores (queries, documents) of some queries."""
        queries = self._encoder.encode_queries(texts)
        ids = known_words(self._encoder.first.numericalize(texts))
        scores = {VECTORS: cosines(queries, self._vectors)}
        if len(self._blocks) > 1:
            for block in self._blocks:
                part = slice(block.start, block.stop)
                scores[block.name] = cosines(queries[:, part], self._vectors[:, part])
        scores[TF_IDF] = self._tf_idf.tf_idf(ids)
        for name, index in self._bm25.items():
            scores[name] = index.all_scores(ids)
        for name in (TF_IDF, *self._bm25):
            scores[_with_vectors(name)] = together(scores[name], scores[VECTORS])
        return scores

    def num_silent(self, texts: Sequence[str]) -> int:
        """Return how many queries have no word that the model knows."""
        return sum(is_silent(self._encoder, text) for text in texts)


def _with_vectors(name: str) -> str:
    return f"{name} + {VECTORS}"


def find(systems: Systems, texts: Sequence[str], depth: int) -> Found:
    """Return the `depth` best documents of each query (all, if there are fewer) by each system."""
    blocks: dict[str, list[Hits]] = {name: [] for name in systems.names}
    for start in range(0, len(texts), BLOCK):
        for name, scores in systems.scores(texts[start : start + BLOCK]).items():
            blocks[name].append(best(scores, depth))
    return {
        name: Hits(np.concatenate([hits.rows for hits in own]), np.concatenate([hits.scores for hits in own]))
        for name, own in blocks.items()
    }
