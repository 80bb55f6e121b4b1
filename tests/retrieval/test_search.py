"""The nearest documents against a brute-force ranking."""

import numpy as np
import pytest

from ulmfit_ray.retrieval.search import best, nearest, normalize_rows


def brute_force(queries: np.ndarray, documents: np.ndarray, k: int) -> list[list[int]]:
    ranked = []
    for query in queries:
        cosines = [
            float(query @ document / (np.linalg.norm(query) * np.linalg.norm(document))) for document in documents
        ]
        ranked.append(
            sorted(range(len(documents)), key=lambda row, cosines=cosines: (-round(cosines[row], 9), row))[:k]
        )  # type: ignore[misc]
    return ranked


def vectors(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, 6))


@pytest.mark.parametrize("cuts", [[], [10], [1, 2, 30], [0, 20, 20, 40]])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_hits_are_those_of_a_ranking_of_all_documents_however_they_are_sharded(cuts: list[int], k: int) -> None:
    queries, documents = vectors(5, 1), vectors(40, 2)
    hits = nearest(queries, np.split(documents, cuts), k)
    assert hits.rows.tolist() == brute_force(queries, documents, k)
    cosines = normalize_rows(queries) @ normalize_rows(documents).T
    np.testing.assert_allclose(hits.scores, np.take_along_axis(cosines, hits.rows, 1))


def test_blocks_of_rows_and_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents = vectors(5, 1), vectors(40, 2)
    whole = nearest(queries, [documents], 7)
    monkeypatch.setattr("ulmfit_ray.retrieval.search.QUERIES_AT_ONCE", 2)
    monkeypatch.setattr("ulmfit_ray.retrieval.search.ROWS_AT_ONCE", 3)
    parts = nearest(queries, [documents], 7)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_allclose(parts.scores, whole.scores)


@pytest.mark.parametrize("k", [1, 5, 50, 51])
def test_the_best_of_random_scores_with_many_ties_are_those_of_a_stable_sort(k: int) -> None:
    scores = np.random.default_rng(0).integers(0, 4, (8, 50)).astype(np.float32)
    np.testing.assert_array_equal(best(scores, k).rows, np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_ties_go_to_the_first_document_within_and_across_shards() -> None:
    query = np.array([[1.0, 0.0]])
    same = np.array([[2.0, 0.0]])
    other = np.array([[0.0, 1.0]])
    shards = [np.concatenate([other, same, same]), np.concatenate([same, other]), same]
    assert nearest(query, shards, 3).rows.tolist() == [[1, 2, 3]]
    assert nearest(query, shards, 10).rows.tolist() == [[1, 2, 3, 5, 0, 4]]


def test_fewer_documents_than_k_are_all_returned_in_order() -> None:
    hits = nearest(vectors(2), [vectors(3, 5)], 10)
    assert hits.rows.shape == hits.scores.shape == (2, 3)
    assert (np.diff(hits.scores, axis=1) <= 0).all()


def test_the_length_of_a_vector_does_not_matter() -> None:
    queries, documents = vectors(3, 1), vectors(20, 2)
    scales = np.random.default_rng(3).uniform(0.1, 50, (20, 1))
    plain, scaled = nearest(queries, [documents], 5), nearest(queries * 7, [documents * scales], 5)
    np.testing.assert_array_equal(plain.rows, scaled.rows)
    np.testing.assert_allclose(plain.scores, scaled.scores)


def test_a_zero_vector_is_near_to_nothing() -> None:
    hits = nearest(np.array([[1.0, 0.0]]), [np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])], 3)
    assert hits.rows.tolist() == [[1, 0, 2]]
    assert hits.scores[0, 1] == 0
    assert normalize_rows(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="queries have 6 numbers, documents 4: use one model"):
        nearest(vectors(2), [np.ones((3, 4))], 1)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_best_of_a_score_matrix_are_in_order_and_ties_go_to_the_first(k: int) -> None:
    hits = best(np.array([[0.5, 2.0, 0.5, -1.0], [1.0, 1.0, 1.0, 3.0]]), k)
    assert hits.rows.tolist() == [[1, 0, 2, 3][:k], [3, 0, 1, 2][:k]]
    assert hits.scores.tolist() == [[2.0, 0.5, 0.5, -1.0][:k], [3.0, 1.0, 1.0, 1.0][:k]]
