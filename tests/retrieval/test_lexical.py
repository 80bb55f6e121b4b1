"""TF-IDF against loops over dictionaries."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from ulmfit_ray.retrieval.lexical import LexicalIndex

VOCAB_SIZE = 12
Corpus = list[list[list[int]]]


def random_corpus(seed: int) -> Corpus:
    draw = np.random.default_rng(seed)
    return [
        [draw.integers(0, VOCAB_SIZE - 2, size).tolist() for size in draw.integers(0, 9, count)]
        for count in (5, 0, 1, 8)
    ]


def index_of(corpus: Corpus) -> LexicalIndex:
    shards = []
    for shard in corpus:
        values = np.array([token for document in shard for token in document], np.uint16)
        shards.append((values, np.cumsum([0, *map(len, shard)])))
    return LexicalIndex(shards, VOCAB_SIZE)


def slow_tf_idf(documents: list[list[int]], query: list[int]) -> list[float]:
    df = Counter(word for document in documents for word in set(document))

    def vector(tokens: list[int]) -> dict[int, float]:
        return {
            word: (1 + math.log(count)) * math.log(len(documents) / df[word])
            for word, count in Counter(tokens).items()
            if df[word]
        }

    def length(weights: dict[int, float]) -> float:
        return math.sqrt(sum(weight**2 for weight in weights.values()))

    query_vector = vector(query)
    scores = []
    for document in documents:
        weights = vector(document)
        product = sum(weight * weights.get(word, 0.0) for word, weight in query_vector.items())
        scores.append(product / (length(weights) * length(query_vector)) if product else 0.0)
    return scores


QUERIES = [[1, 2, 3], [4, 4, 4, 5], [VOCAB_SIZE - 1], [], [0, VOCAB_SIZE - 1, 7]]


@pytest.mark.parametrize("seed", range(4))
def test_tf_idf_is_the_cosine_of_weighted_counts(seed: int) -> None:
    corpus = random_corpus(seed)
    documents = [document for shard in corpus for document in shard]
    expected = [slow_tf_idf(documents, query) for query in QUERIES]
    found = index_of(corpus).tf_idf([np.array(query, np.int64) for query in QUERIES])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_how_documents_are_cut_into_shards_changes_nothing() -> None:
    documents = [document for shard in random_corpus(1) for document in shard]
    whole, parts = index_of([documents]), index_of([[document] for document in documents])
    queries = [np.array(query, np.int64) for query in QUERIES]
    np.testing.assert_array_equal(whole.tf_idf(queries), parts.tf_idf(queries))
    assert whole.num_documents == parts.num_documents == len(documents)


def test_document_frequency_counts_each_document_once() -> None:
    index = index_of([[[1, 1, 2], [2]], [[2, 3], []]])
    assert index.document_frequency.tolist() == [0, 1, 3, 1] + [0] * (VOCAB_SIZE - 4)
    assert index.lengths.tolist() == [3, 1, 2, 0]


def test_a_values_array_with_more_than_the_documents_own_tokens_is_cut_by_its_offsets() -> None:
    documents = [[1, 2], [3]]
    whole = index_of([documents])
    values, offsets = np.array([1, 2, 3], np.uint16), np.array([0, 2, 3])
    found = LexicalIndex([(values, offsets)], VOCAB_SIZE).tf_idf([np.array([3])])
    np.testing.assert_array_equal(found, whole.tf_idf([np.array([3])]))
    assert [values[start:stop].tolist() for start, stop in pairwise(offsets)] == documents
