"""The systems that `evaluate retrieval` compares, and what each of them finds.

They are the vectors and their blocks, TF-IDF, BM25 with the usual constants and, if others are asked for, with those;
and each of the latter three together with the vectors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ulmfit_ray.commands.scoring import (
    all_vectors,
    cosines,
    fitting_documents,
    index_words,
    known_words,
    says_something,
    together,
)
from ulmfit_ray.commands.shards import shard_tables
from ulmfit_ray.config import ConfigError
from ulmfit_ray.retrieval.lexical import LexicalIndex
from ulmfit_ray.retrieval.search import Hits, best
from ulmfit_ray.storage.embedding_dataset import EmbeddingDataset
from ulmfit_ray.storage.token_dataset import TokenDataset, flat_tokens
from ulmfit_ray.text.stop_words import silent_ids

if TYPE_CHECKING:
    from ulmfit_ray.document_encoder import DocumentEncoder

VECTORS, TF_IDF, BM25, TUNED_BM25 = "vectors", "tfidf", "bm25", "tuned bm25"
BLOCK = 64
"""Queries that are scored at once: a score for each of them and each document is held."""
Found = dict[str, Hits]
"""System -> the rows of its best documents and their scores, (Q, depth)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bm25Options:
    """BM25's constants."""

    k1: float = 0.9
    """How much further occurrences of a word in a document count."""
    b: float = 0.4
    """How much long documents are held back: 0 not at all, 1 in proportion to their length."""
    stop_words: bool = False
    """Leave out the language's stop words, punctuation and marks, in queries and documents."""

    def __post_init__(self) -> None:
        if not self.k1 >= 0:
            raise ConfigError("--bm25.k1 must be 0 or more")
        if not 0 <= self.b <= 1:
            raise ConfigError("--bm25.b must be between 0 and 1")


class Systems:
    """All documents, ready to be scored by every system.

    Raises:
        ConfigError: the tokens are of other documents than the vectors.
        ValueError: the tokens are of another vocabulary than the model's, or there are no stop words of their language.
    """

    def __init__(
        self, embeddings: EmbeddingDataset, tokens: TokenDataset, encoder: "DocumentEncoder", bm25: Bm25Options
    ) -> None:
        self.doc_ids = fitting_documents(embeddings, tokens, encoder)
        self._encoder, self._pooling = encoder, embeddings.pooling
        self._vectors, self._blocks = all_vectors(embeddings), embeddings.blocks
        self._index = index_words(tokens, len(encoder.vocab))
        self._bm25 = {BM25: Bm25Options()}
        if bm25 != Bm25Options():
            self._bm25[TUNED_BM25] = bm25
        self._is_silent = np.zeros(len(encoder.vocab), bool)
        self._index_of_telling_words = self._index
        if bm25.stop_words:
            self._is_silent = silent_ids(encoder.vocab, encoder.tokenizer.settings.lang)
            self._index_of_telling_words = self._index_without_silent_words(tokens)

    def _index_without_silent_words(self, tokens: TokenDataset) -> LexicalIndex:
        def telling() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for table in shard_tables(tokens):
                values, offsets = flat_tokens(table["tokens"])
                is_telling = ~self._is_silent[values]
                before = np.concatenate([[0], np.cumsum(is_telling)])
                yield values[is_telling], before[offsets]

        return LexicalIndex(telling(), len(self._is_silent))

    @property
    def names(self) -> list[str]:
        """Return the names of all systems, in the order of a table."""
        blocks = [block.name for block in self._blocks] if len(self._blocks) > 1 else []
        lexical = [TF_IDF, *self._bm25]
        return [VECTORS, *blocks, *lexical, *(_with_vectors(name) for name in lexical)]

    def scores(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return each system's scores (queries, documents) of some queries."""
        queries, ids = self._encoder.encode(texts, self._pooling), known_words(self._encoder.numericalize(texts))
        scores = {VECTORS: cosines(queries, self._vectors)}
        if len(self._blocks) > 1:
            for block in self._blocks:
                part = slice(block.start, block.stop)
                scores[block.name] = cosines(queries[:, part], self._vectors[:, part])
        scores[TF_IDF] = self._index.tf_idf(ids)
        for name, options in self._bm25.items():
            scores[name] = self._bm25_scores(ids, options)
        for name in (TF_IDF, *self._bm25):
            scores[_with_vectors(name)] = together(scores[name], scores[VECTORS])
        return scores

    def _bm25_scores(self, ids: Sequence[np.ndarray], options: Bm25Options) -> np.ndarray:
        index = self._index
        if options.stop_words:
            index, ids = self._index_of_telling_words, [query[~self._is_silent[query]] for query in ids]
        return index.bm25(ids, k1=options.k1, b=options.b)

    def num_silent(self, texts: Sequence[str]) -> int:
        """Return how many queries have no word that the model knows."""
        return sum(not says_something(ids) for ids in self._encoder.numericalize(texts))


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
