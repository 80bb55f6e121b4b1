"""Neighbours against a sorted matrix of all scores, and groups against a search through the graph."""

import numpy as np
import pytest

from ulmfit_ray.retrieval import neighbours
from ulmfit_ray.retrieval.neighbours import linked_groups, nearest_others
from ulmfit_ray.retrieval.search import normalize_rows


def unit_vectors(number: int, width: int = 16) -> np.ndarray:
    random = np.random.default_rng(number)
    centers = random.normal(size=(7, width))
    return normalize_rows(centers[random.integers(7, size=number)] + random.normal(size=(number, width))).astype("f4")


def sorted_neighbours(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, 1)


@pytest.mark.parametrize(("queries", "rows", "chunk"), [(2048, 4096, 64), (50, 64, 16), (7, 33, 8), (300, 129, 64)])
def test_neighbours_are_those_of_all_scores_sorted_however_the_work_is_cut(
    queries: int, rows: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("QUERIES_AT_ONCE", queries), ("ROWS_AT_ONCE", rows), ("CHUNK", chunk)):
        monkeypatch.setattr(neighbours, name, size)
    vectors = unit_vectors(300)
    hits = nearest_others(vectors, np.arange(300), vectors, 10)
    expected_rows, expected_scores = sorted_neighbours(vectors, 10)
    assert np.array_equal(hits.rows, expected_rows)
    assert hits.scores == pytest.approx(expected_scores, abs=1e-6)


def test_some_documents_can_be_asked_for_by_their_rows() -> None:
    vectors, own = unit_vectors(200), np.arange(120, 170)
    hits = nearest_others(vectors[own], own, vectors, 5)
    assert np.array_equal(hits.rows, sorted_neighbours(vectors, 5)[0][own])


def test_of_equal_documents_the_first_are_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", 8)
    vectors = np.zeros((30, 4), np.float32)
    vectors[:, 0] = 1.0
    hits = nearest_others(vectors, np.arange(30), vectors, 3)
    expected = [[row for row in range(4) if row != own][:3] for own in range(30)]
    assert hits.rows.tolist() == expected


@pytest.mark.parametrize("number", [1, 2, 4])
def test_with_fewer_others_than_k_the_rest_is_empty(number: int) -> None:
    vectors = unit_vectors(number)
    hits = nearest_others(vectors, np.arange(number), vectors, 5)
    assert hits.rows.shape == (number, 5)
    assert ((hits.rows >= 0).sum(axis=1) == number - 1).all()
    assert np.isneginf(hits.scores[hits.rows < 0]).all()


def test_no_documents_have_no_neighbours() -> None:
    hits = nearest_others(np.empty((0, 16), np.float32), np.empty(0, np.int64), unit_vectors(9), 3)
    assert hits.rows.shape == hits.scores.shape == (0, 3)


def test_groups_are_what_can_be_reached_through_pairs() -> None:
    random = np.random.default_rng(3)
    pairs = random.integers(400, size=(250, 2))
    reached = {row: {row} for row in np.unique(pairs).tolist()}
    for one, other in pairs.tolist():
        union = reached[one] | reached[other]
        for row in union:
            reached[row] = union
    expected = sorted({tuple(sorted(group)) for group in reached.values()})
    parts = [(pairs[start : start + 90, 0], pairs[start : start + 90, 1]) for start in range(0, 250, 90)]
    assert [tuple(group.tolist()) for group in linked_groups(parts)] == expected


def test_without_pairs_there_are_no_groups() -> None:
    assert linked_groups([]) == []
