"""Ranking metrics against relevance judgments: a value for each query, means with their standard errors, differences.

Definitions are trec_eval's, as BEIR reports them. A measure is a function of the grades of the results, best result
first, of the grades of all documents judged for the query, and of k, the number of results that count.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Measure = Callable[[Sequence[float], Sequence[float], int], float]
NOISE = 2.0
"""A difference of fewer standard errors than this is no finding: by chance alone one in twenty is as large."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries and its standard error."""

    mean: float
    standard_error: float

    @property
    def is_noise(self) -> bool:
        """Tell whether a difference may be chance: it is smaller than NOISE standard errors."""
        return abs(self.mean) <= NOISE * self.standard_error


def ndcg(relevance: Sequence[float], judged: Sequence[float], k: int = 10) -> float:
    """Return the discounted gain of the first k results over the largest possible one."""
    ideal = _gain(sorted(judged, reverse=True)[:k])
    return _gain(relevance[:k]) / ideal if ideal else 0.0


def _gain(grades: Sequence[float]) -> float:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades))


def recall(relevance: Sequence[float], judged: Sequence[float], k: int = 100) -> float:
    """Return the part of all relevant documents that is among the first k results."""
    num_relevant = _num_relevant(judged)
    return _num_relevant(relevance[:k]) / num_relevant if num_relevant else 0.0


def precision(relevance: Sequence[float], judged: Sequence[float], k: int = 10) -> float:
    """Return the part of the first k results that is relevant; results that are missing are not."""
    return _num_relevant(relevance[:k]) / k


def average_precision(relevance: Sequence[float], judged: Sequence[float], k: int = 1000) -> float:
    """Return the precision at the rank of each relevant result, summed and divided by all relevant documents."""
    num_relevant = _num_relevant(judged)
    ranks = [rank for rank, grade in enumerate(relevance[:k], 1) if grade > 0]
    return sum(found / rank for found, rank in enumerate(ranks, 1)) / num_relevant if num_relevant else 0.0


def reciprocal_rank(relevance: Sequence[float], judged: Sequence[float], k: int = 10) -> float:
    """Return 1 / rank of the first relevant result among the first k, 0 if there is none."""
    return next((1.0 / rank for rank, grade in enumerate(relevance[:k], 1) if grade > 0), 0.0)


def success(relevance: Sequence[float], judged: Sequence[float], k: int = 1) -> float:
    """Return 1 if a relevant document is among the first k results, else 0."""
    return float(_num_relevant(relevance[:k]) > 0)


def _num_relevant(grades: Sequence[float]) -> int:
    return sum(grade > 0 for grade in grades)


MEASURES: Mapping[str, Measure] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "success": success,
}


def measure_at(metric: str) -> tuple[Measure, int]:
    """Return the measure and the k of a metric such as "ndcg@10".

    Raises:
        ValueError: there is no such metric.
    """
    name, _, k = metric.partition("@")
    if name not in MEASURES or not k.isascii() or not k.isdigit() or int(k) < 1:
        raise ValueError(f"there is no metric {metric!r}: it is one of {', '.join(MEASURES)}, with @ and a number")
    return MEASURES[name], int(k)


def judge(
    ranked: Sequence[Sequence[str]], judgments: Sequence[Mapping[str, float]], metrics: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return each metric's value for each query (Q,), from its results, best first, and id -> grade of its judged ones.

    A grade below 0 is one of 0: not relevant.

    Raises:
        ValueError: there is no such metric.
    """
    measures = {metric: measure_at(metric) for metric in metrics}
    values: dict[str, list[float]] = {metric: [] for metric in metrics}
    for results, grades in zip(ranked, judgments, strict=True):
        judged = {doc_id: max(0.0, grade) for doc_id, grade in grades.items()}
        relevance = [judged.get(doc_id, 0.0) for doc_id in results]
        for metric, (measure, k) in measures.items():
            values[metric].append(measure(relevance, list(judged.values()), k))
    return {metric: np.array(own, np.float64) for metric, own in values.items()}


def estimate(values: np.ndarray) -> Estimate:
    """Return the mean over queries of values (Q,), with its standard error (0 for a single query).

    Of the differences of two systems' values, query by query, it is the paired difference: its error leaves out that
    some queries are hard for both.
    """
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(float(values.mean()), float(error))
