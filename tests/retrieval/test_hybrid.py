"""Hybrid scores of candidates against those of all documents."""

import numpy as np
import pytest

from ulmfit_ray.retrieval.hybrid import Moments, MomentSums, fused, standardize, together
from ulmfit_ray.retrieval.search import best, normalize_rows


def clustered(size: int, seed: int, mean: float = 1.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(9, 24)) + mean
    return (centres[draw.integers(0, 9, size)] + draw.normal(size=(size, 24))).astype(np.float32)


def test_standardized_scores_have_mean_0_and_deviation_1_for_each_query() -> None:
    scores = np.array([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]])
    found = standardize(scores)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(found[0].std(), 1)
    assert found[1].tolist() == [0, 0, 0]
    assert np.argsort(found[0]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("mean", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("cuts", [[], [1], [7, 300, 301]])
def test_moments_give_mean_and_deviation_of_all_cosines(cuts: list[int], mean: float) -> None:
    documents, queries = clustered(1000, 1, mean), clustered(5, 2, mean)
    documents[17] = 0
    sums = MomentSums(24)
    for part in np.split(documents, cuts):
        sums.add(part)
    moments = Moments.from_array(sums.moments().to_array())
    cosines = normalize_rows(queries.astype(np.float64)) @ normalize_rows(documents.astype(np.float64)).T
    means, deviations = moments.of_cosines(queries)
    np.testing.assert_allclose(means, cosines.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(deviations, cosines.std(axis=1), rtol=1e-4)


def test_equal_documents_have_no_deviation() -> None:
    sums = MomentSums(3)
    sums.add(np.ones((4, 3), np.float32))
    assert sums.moments().of_cosines(np.ones((1, 3)))[1].tolist() == pytest.approx([0.0], abs=1e-6)


def hybrid_cases() -> tuple[np.ndarray, np.ndarray]:
    """Scores by words, mostly 0 as BM25's are, and cosines, of 6 queries and 2,000 documents."""
    cosines = normalize_rows(clustered(6, 3)) @ normalize_rows(clustered(2000, 4)).T
    draw = np.random.default_rng(5)
    words = draw.gamma(2.0, 3.0, cosines.shape) * (draw.random(cosines.shape) < 0.1)
    return words.astype(np.float32), cosines


@pytest.mark.parametrize("num_candidates", [60, 2000])
def test_the_best_candidates_are_the_best_of_all_with_the_same_scores(num_candidates: int) -> None:
    words, cosines = hybrid_cases()
    exact = best(together(words, cosines), 10)
    for number in range(len(cosines)):
        near = best(cosines[number : number + 1], num_candidates).rows[0]
        own = cosines[number].astype(np.float64)
        hits = fused(words[number], near, own.__getitem__, own.mean(), own.std(), 10)
        common = len(set(hits.rows[0].tolist()) & set(exact.rows[number].tolist()))
        assert common >= (10 if num_candidates == 2000 else 9)
        if common == 10:
            assert hits.rows[0].tolist() == exact.rows[number].tolist()
            np.testing.assert_allclose(hits.scores[0], exact.scores[number], atol=1e-5)


def test_a_document_that_only_its_words_find_is_found() -> None:
    words, cosines = np.zeros(50, np.float32), np.linspace(1, 0, 50)
    words[49] = 20
    hits = fused(words, np.arange(5), cosines.__getitem__, cosines.mean(), cosines.std(), 3)
    assert hits.rows.tolist() == [[49, 0, 1]]


def test_a_query_without_words_is_ranked_by_vectors() -> None:
    cosines = np.linspace(1, 0, 50)
    hits = fused(np.zeros(50, np.float32), np.arange(5), cosines.__getitem__, 0.5, 0.0, 3)
    assert hits.rows.tolist() == [[0, 1, 2]]
