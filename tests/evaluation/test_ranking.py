"""Metrics against values worked out by hand."""

import math

import numpy as np
import pytest

from ulmfit_ray.evaluation.ranking import (
    Estimate,
    average_precision,
    estimate,
    judge,
    measure_at,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
    success,
)


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
    assert reciprocal_rank(relevance, relevance) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("relevance", "judged", "k", "expected"),
    [
        ([1, 0, 1], [1, 1], 3, (1 + 2 / 3) / 2),
        ([0, 1], [1, 1], 2, 1 / 4),
        ([0, 1], [1], 1, 0.0),
        ([2, 1], [1, 2], 2, 1.0),
        ([], [], 5, 0.0),
    ],
)
def test_average_precision_is_the_mean_precision_at_the_ranks_of_all_relevant_documents(
    relevance: list[float], judged: list[float], k: int, expected: float
) -> None:
    assert average_precision(relevance, judged, k) == pytest.approx(expected)


def test_precision_counts_missing_results_as_wrong_and_success_asks_for_one() -> None:
    assert precision([1, 0, 1], [1, 1], 10) == 0.2
    assert success([0, 1], [1], 1) == 0.0
    assert success([0, 1], [1], 2) == 1.0


def test_a_metric_is_a_measure_and_how_many_results_count() -> None:
    assert measure_at("recall@20") == (recall, 20)
    for unknown in ("ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@ten", "bleu@4", "ndcg@²"):
        with pytest.raises(
            ValueError, match=f"no metric '{unknown}': it is one of ndcg, recall, .* with @ and a number"
        ):
            measure_at(unknown)


def test_standard_error_is_the_deviation_over_the_root_of_the_number_of_queries() -> None:
    found = estimate(np.array([0.0, 1.0, 1.0, 0.0]))
    assert found.mean == 0.5
    assert found.standard_error == pytest.approx(math.sqrt(1 / 3) / 2)
    assert estimate(np.array([0.7])).standard_error == 0.0


def test_a_difference_within_two_standard_errors_is_noise() -> None:
    assert [Estimate(mean, 0.01).is_noise for mean in (0.0, 0.019, -0.019, 0.021, -0.021)] == [True] * 3 + [False] * 2
    assert Estimate(0.0, 0.0).is_noise


def test_results_are_judged_query_by_query() -> None:
    judgments = [{"c": 1.0}, {"a": 2.0, "b": 1.0, "not in the corpus": 1.0}]
    found = judge([["b", "c", "a"], ["a", "b", "c"]], judgments, ["ndcg@10", "recall@100", "mrr@10"])
    second = (2 + 1 / math.log2(3)) / (2 + 1 / math.log2(3) + 1 / 2)
    assert found["ndcg@10"].tolist() == pytest.approx([1 / math.log2(3), second])
    assert found["recall@100"].tolist() == pytest.approx([1, 2 / 3])
    assert found["mrr@10"].tolist() == pytest.approx([1 / 2, 1])


def test_only_the_first_k_results_count() -> None:
    results = [[str(number) for number in range(150)]] * 2
    assert judge(results, [{"99": 1.0}, {"100": 1.0}], ["recall@100"])["recall@100"].tolist() == [1.0, 0.0]


def test_a_grade_below_zero_is_not_relevant() -> None:
    found = judge([["bad", "good"]], [{"bad": -2.0, "good": 1.0}], ["ndcg@10", "recall@1"])
    assert found["ndcg@10"].tolist() == pytest.approx([1 / math.log2(3)])
    assert found["recall@1"].tolist() == [0.0]
