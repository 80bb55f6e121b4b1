"""Ranking metrics against relevance judgments, each a mean over queries with its standard error.

Definitions are trec_eval's, as BEIR reports them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Metric:
    """A mean over queries and its standard error."""

    mean: float
    standard_error: float


def ndcg(relevance: Sequence[float], judged: Sequence[float], k: int = 10) -> float:
    """Return nDCG@k from the grades of the results, best result first, and of all documents judged for the query."""
    ideal = _dcg(sorted(judged, reverse=True)[:k])
    return _dcg(relevance[:k]) / ideal if ideal else 0.0


def _dcg(grades: Sequence[float]) -> float:
    return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades))


def recall(relevance: Sequence[float], judged: Sequence[float], k: int = 100) -> float:
    """Return the part of all relevant documents that is among the first k results."""
    num_relevant = sum(grade > 0 for grade in judged)
    return sum(grade > 0 for grade in relevance[:k]) / num_relevant if num_relevant else 0.0


def reciprocal_rank(relevance: Sequence[float], k: int = 10) -> float:
    """Return 1 / rank of the first relevant result among the first k, 0 if there is none."""
    return next((1.0 / (rank + 1) for rank, grade in enumerate(relevance[:k]) if grade > 0), 0.0)


def mean_with_error(values: Sequence[float]) -> Metric:
    """Return the mean over queries and its standard error (0 for a single query)."""
    array = np.asarray(values, dtype=np.float64)
    error = array.std(ddof=1) / math.sqrt(len(array)) if len(array) > 1 else 0.0
    return Metric(float(array.mean()), float(error))


def evaluate_scores(
    scores: np.ndarray, doc_ids: Sequence[str], judgments: Sequence[dict[str, float]]
) -> dict[str, Metric]:
    """Return nDCG@10, recall@100 and MRR@10 of a score matrix (queries, documents); ties go to the first document.

    `judgments` has one dictionary per query: id -> grade of each judged document.
    """
    position = {doc_id: number for number, doc_id in enumerate(doc_ids)}
    figures: dict[str, list[float]] = {"ndcg@10": [], "recall@100": [], "mrr@10": []}
    for row, judged in zip(scores, judgments, strict=True):
        best = np.argsort(-row, kind="stable")[:100]
        grades = {position[doc_id]: grade for doc_id, grade in judged.items() if doc_id in position}
        relevance = [grades.get(int(document), 0.0) for document in best]
        figures["ndcg@10"].append(ndcg(relevance, list(judged.values())))
        figures["recall@100"].append(recall(relevance, list(judged.values())))
        figures["mrr@10"].append(reciprocal_rank(relevance))
    return {name: mean_with_error(values) for name, values in figures.items()}
