"""TF-IDF from token ids: a baseline that vectors are compared with."""

from collections.abc import Iterable, Sequence

import numpy as np


class LexicalIndex:
    """Postings of a corpus of token ids: for each word, the documents that hold it and how often."""

    def __init__(self, shards: Iterable[tuple[np.ndarray, np.ndarray]], vocab_size: int) -> None:
        """Index shards given as (values, offsets): document i of a shard is values[offsets[i]:offsets[i + 1]]."""
        words, documents, counts, lengths = [], [], [], []
        first = 0
        for values, offsets in shards:
            size = np.diff(offsets)
            document = np.repeat(np.arange(first, first + len(size)), size)
            keys, count = np.unique(document * vocab_size + values.astype(np.int64), return_counts=True)
            documents.append(keys // vocab_size)
            words.append(keys % vocab_size)
            counts.append(count)
            lengths.append(size)
            first += len(size)
        self.num_documents = first
        self.lengths = np.concatenate(lengths).astype(np.float64)
        word = np.concatenate(words)
        order = np.argsort(word, kind="stable")
        self._documents = np.concatenate(documents)[order]
        self._counts = np.concatenate(counts)[order].astype(np.float64)
        self._starts = np.searchsorted(word[order], np.arange(vocab_size + 1))
        self.document_frequency = np.diff(self._starts)
        self._tf_idf_norms = self._norms()

    def _postings(self, word: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(self._starts[word], self._starts[word + 1])
        return self._documents[part], self._counts[part]

    def _idf(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            idf = np.log(self.num_documents / self.document_frequency)
        return np.where(self.document_frequency > 0, idf, 0.0)

    def _norms(self) -> np.ndarray:
        weights = (1 + np.log(self._counts)) * np.repeat(self._idf(), self.document_frequency)
        norms = np.sqrt(np.bincount(self._documents, weights**2, minlength=self.num_documents))
        return np.where(norms > 0, norms, 1.0)

    def tf_idf(self, queries: Sequence[np.ndarray]) -> np.ndarray:
        """Return cosines (queries, documents) of (1 + ln tf) ln(N / df) vectors."""
        idf = self._idf()
        scores = np.zeros((len(queries), self.num_documents))
        for row, query in zip(scores, queries, strict=True):
            words, counts = np.unique(query, return_counts=True)
            weights = (1 + np.log(counts)) * idf[words]
            for word, weight in zip(words, weights, strict=True):
                documents, tf = self._postings(word)
                row[documents] += weight * (1 + np.log(tf)) * idf[word]
            row[:] /= max(float(np.linalg.norm(weights)), 1e-12)
        return scores / self._tf_idf_norms
