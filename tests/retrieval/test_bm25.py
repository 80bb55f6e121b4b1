"""BM25 against a loop over dictionaries, and as it is kept on disk."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ulmfit_ray.retrieval.bm25 import BM25Index, BM25Options

VOCAB_SIZE = 12
Corpus = list[list[list[int]]]
QUERIES = [[1, 2, 3], [4, 4, 4, 5], [VOCAB_SIZE - 1], [], [0, VOCAB_SIZE - 1, 7]]


def random_corpus(seed: int) -> Corpus:
    draw = np.random.default_rng(seed)
    return [
        [draw.integers(0, VOCAB_SIZE - 2, size).tolist() for size in draw.integers(0, 9, count)]
        for count in (5, 0, 1, 8)
    ]


def index_of(corpus: Corpus, options: BM25Options | None = None) -> BM25Index:
    shards = []
    for shard in corpus:
        values = np.array([token for document in shard for token in document], np.uint16)
        shards.append((values, np.cumsum([0, *map(len, shard)])))
    return BM25Index.of(lambda: iter(shards), sum(map(len, corpus)), VOCAB_SIZE, options or BM25Options())


def slow_bm25(documents: list[list[int]], query: list[int], k1: float, b: float) -> list[float]:
    df = Counter(word for document in documents for word in set(document))
    mean_length = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        counts, score = Counter(document), 0.0
        for word in query:
            idf = math.log(1 + (len(documents) - df[word] + 0.5) / (df[word] + 0.5))
            norm = k1 * (1 - b + b * len(document) / mean_length)
            score += idf * counts[word] / (counts[word] + norm)
        scores.append(score)
    return scores


def found(index: BM25Index) -> np.ndarray:
    return index.all_scores([np.array(query, np.int64) for query in QUERIES])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (2.0, 0.0)])
def test_a_score_is_the_sum_over_the_querys_words(seed: int, k1: float, b: float) -> None:
    corpus = random_corpus(seed)
    documents = [document for shard in corpus for document in shard]
    expected = [slow_bm25(documents, query, k1, b) for query in QUERIES]
    np.testing.assert_allclose(found(index_of(corpus, BM25Options(k1=k1, b=b))), expected, rtol=1e-5, atol=1e-6)


def test_how_documents_are_cut_into_shards_changes_nothing() -> None:
    documents = [document for shard in random_corpus(1) for document in shard]
    np.testing.assert_array_equal(found(index_of([documents])), found(index_of([[document] for document in documents])))


def test_a_saved_index_gives_the_same_scores(tmp_path: Path) -> None:
    index = index_of(random_corpus(2))
    index.save(tmp_path / "bm25")
    np.testing.assert_array_equal(found(BM25Index.load(tmp_path / "bm25")), found(index))


def test_a_corpus_of_one_document_can_be_asked() -> None:
    scores = index_of([[[3, 3, 4]]]).all_scores([np.array([3]), np.array([5]), np.array([], np.int64)])
    assert scores.shape == (3, 1)
    assert scores[0, 0] > 0
    assert scores[1:, 0].tolist() == [0, 0]


@pytest.mark.parametrize(("options", "message"), [({"k1": -1.0}, "bm25.k1"), ({"b": 1.5}, "bm25.b must lie between")])
def test_impossible_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BM25Options(**options)
