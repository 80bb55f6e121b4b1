"""Metrics against values worked out by hand."""

import math

import numpy as np
import pytest

from ulmfit_ray.evaluation.ranking import evaluate_scores, mean_with_error, ndcg, recall, reciprocal_rank


@pytest.mark.parametrize(
    ("relevance", "judged", "expected"),
    [
        ([1], [1], 1.0),
        ([0, 1], [1], 1 / math.log2(3)),
        ([0, 0, 1], [1], 0.5),
        ([1, 0, 1], [1, 1], 1.5 / (1 + 1 / math.log2(3))),
        ([1, 2], [1, 2], (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))),
        ([0, 0], [1], 0.0),
        ([], [1], 0.0),
        ([0], [], 0.0),
        ([0], [0], 0.0),
        ([0] * 10 + [1], [1], 0.0),
        ([0] * 9 + [1], [1], 1 / math.log2(11)),
    ],
)
def test_ndcg_is_the_discounted_gain_over_the_best_possible(
    relevance: list[float], judged: list[float], expected: float
) -> None:
    assert ndcg(relevance, judged) == pytest.approx(expected)


def test_ndcg_of_more_relevant_documents_than_k_can_be_one() -> None:
    assert ndcg([1] * 10, [1] * 25) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("relevance", "judged", "k", "expected"),
    [([1, 0, 1], [1, 1, 1, 1], 100, 0.5), ([0, 1], [1], 1, 0.0), ([2, 0], [2, 0], 100, 1.0), ([], [], 100, 0.0)],
)
def test_recall_is_the_part_of_relevant_documents_among_the_first_k(
    relevance: list[float], judged: list[float], k: int, expected: float
) -> None:
    assert recall(relevance, judged, k) == expected


@pytest.mark.parametrize(
    ("relevance", "expected"),
    [([1], 1.0), ([0, 0, 2, 1], 1 / 3), ([0] * 10 + [1], 0.0), ([0] * 9 + [1], 0.1), ([], 0.0)],
)
def test_reciprocal_rank_is_of_the_first_relevant_document(relevance: list[float], expected: float) -> None:
    assert reciprocal_rank(relevance) == pytest.approx(expected)


def test_standard_error_is_the_deviation_over_the_root_of_the_number_of_queries() -> None:
    metric = mean_with_error([0.0, 1.0, 1.0, 0.0])
    assert metric.mean == 0.5
    assert metric.standard_error == pytest.approx(math.sqrt(1 / 3) / 2)
    assert mean_with_error([0.7]).standard_error == 0.0


def test_scores_are_ranked_and_judged_query_by_query() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    figures = evaluate_scores(scores, ["a", "b", "c"], [{"c": 1.0}, {"a": 2.0, "b": 1.0, "not in the corpus": 1.0}])
    second = (2 + 1 / math.log2(3)) / (2 + 1 / math.log2(3) + 1 / 2)
    assert figures["ndcg@10"].mean == pytest.approx((1 / math.log2(3) + second) / 2)
    assert figures["recall@100"].mean == pytest.approx((1 + 2 / 3) / 2)
    assert figures["mrr@10"].mean == pytest.approx((1 / 2 + 1) / 2)


def test_ties_go_to_the_first_document() -> None:
    figures = evaluate_scores(np.ones((1, 5)), list("abcde"), [{"b": 1.0}])
    assert figures["mrr@10"].mean == 0.5


def test_only_the_first_hundred_documents_count() -> None:
    scores = -np.arange(150.0)[None]
    doc_ids = [str(number) for number in range(150)]
    found = [evaluate_scores(scores, doc_ids, [{doc_id: 1.0}])["recall@100"].mean for doc_id in ("99", "100")]
    assert found == [1.0, 0.0]
