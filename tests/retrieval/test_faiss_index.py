"""Indexes of all kinds against an exact search."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ulmfit_ray.retrieval.faiss_index import (
    LEAST_FOR_IVF_PQ,
    Kind,
    VectorIndex,
    kind_for,
    num_lists,
    num_training_vectors,
    require_faiss,
)
from ulmfit_ray.retrieval.recall import choose_effort, milliseconds_per_query, recall, without_own
from ulmfit_ray.retrieval.search import Hits, nearest

KINDS: list[Kind] = ["flat", "hnsw", "ivf-pq"]


def clustered(size: int, dimension: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(100, dimension))
    return (centres[draw.integers(0, 100, size)] + draw.normal(size=(size, dimension))).astype(np.float32)


def index_of(kind: Kind, vectors: np.ndarray, place: Path) -> VectorIndex:
    """Make an index in two steps, save it and open it."""
    training = vectors[: num_training_vectors(kind, len(vectors))]
    index = VectorIndex.make(kind, vectors.shape[1], len(vectors), training, place)
    for part in np.array_split(vectors, 2):
        if len(part):
            index.add(part)
    index.save(place)
    return VectorIndex.load(place, kind, 1)


@pytest.fixture(scope="module")
def documents() -> np.ndarray:
    # 20 numbers are two bytes of product quantization and a half.
    vectors = clustered(LEAST_FOR_IVF_PQ, 20)
    vectors[5] = 0
    vectors[7] = vectors[9] = vectors[11]
    return vectors


@pytest.fixture(scope="module")
def indexes(documents: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, VectorIndex]:
    return {kind: index_of(kind, documents, tmp_path_factory.mktemp("index")) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_with_enough_effort_finds_what_an_exact_search_finds(
    indexes: dict[Kind, VectorIndex], documents: np.ndarray, kind: Kind
) -> None:
    index, own = indexes[kind], np.arange(0, 400, 2)
    queries = documents[own]
    exact = without_own(nearest(queries, [documents], 11), own, 10)
    assert choose_effort(index, queries, own, exact, 0.95) >= 0.95
    found = without_own(index.search(queries, 11), own, 10)
    assert (found.rows != own[:, None]).all()
    assert recall(found, exact) >= 0.95
    right = found.rows == exact.rows
    np.testing.assert_allclose(found.scores[right], exact.scores[right], atol=1e-3)
    if kind != "flat":
        assert index.effort < index.efforts[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_length_of_a_vector_does_not_matter(
    indexes: dict[Kind, VectorIndex], documents: np.ndarray, kind: Kind
) -> None:
    small, large = (indexes[kind].search(documents[:5] * scale, 3) for scale in (0.01, 50))
    np.testing.assert_array_equal(small.rows, large.rows)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_kept_by_their_rows(indexes: dict[Kind, VectorIndex], documents: np.ndarray, kind: Kind) -> None:
    rows = np.array([9_999, 0, 5, 0])
    unit = documents[rows] / np.maximum(np.linalg.norm(documents[rows], axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(indexes[kind].vectors(rows), unit, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_more_hits_than_one_list_holds_are_found_all_the_same(
    indexes: dict[Kind, VectorIndex], documents: np.ndarray, kind: Kind
) -> None:
    indexes[kind].effort = 1
    hits = indexes[kind].search(documents[:2], 700)
    assert (hits.rows >= 0).all()
    assert [len(set(row)) for row in hits.rows.tolist()] == [700, 700]
    assert (np.diff(hits.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_one_document_and_documents_that_are_all_equal_can_be_searched(tmp_path: Path, kind: Kind) -> None:
    index = index_of(kind, np.ones((1, 4), np.float32), tmp_path)
    assert index.search(np.ones((2, 4), np.float32), 10).rows.tolist() == [[0], [0]]
    nothing = without_own(nearest(np.ones((1, 4)), [np.ones((1, 4))], 11), np.array([0]), 10)
    assert choose_effort(index, np.ones((1, 4), np.float32), np.array([0]), nothing, 0.95) == 1.0
    assert milliseconds_per_query(index, np.ones((1, 4), np.float32)) > 0
    (tmp_path / "equal").mkdir()
    equal = index_of(kind, np.ones((30, 4), np.float32), tmp_path / "equal")
    assert sorted(equal.search(np.ones((1, 4), np.float32), 30).rows[0].tolist()) == list(range(30))


def test_a_zero_vector_is_near_to_nothing(tmp_path: Path) -> None:
    documents = np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 0.0]], np.float32)
    hits = index_of("flat", documents, tmp_path).search(np.array([[1.0, 0.0]], np.float32), 3)
    assert hits.rows.tolist() == [[1, 0, 2]]
    assert hits.scores[0, 1] == 0


def test_documents_that_are_as_near_as_the_last_exact_hit_are_right() -> None:
    exact = Hits(np.array([[1, 2]]), np.array([[0.9, 0.5]]))
    assert recall(Hits(np.array([[1, 7]]), np.array([[0.9, 0.5]])), exact) == 1.0
    assert recall(Hits(np.array([[1, 7]]), np.array([[0.9, 0.4]])), exact) == 0.5
    assert recall(Hits(np.array([[1, -1]]), np.array([[0.9, 1.0]])), exact) == 0.5


def test_a_querys_own_row_is_left_out_and_else_the_last() -> None:
    hits = Hits(np.array([[4, 1, 2], [1, 2, 3]]), np.array([[9, 8, 7], [6, 5, 4]]))
    others = without_own(hits, np.array([4, 9]), 2)
    assert others.rows.tolist() == [[1, 2], [1, 2]]
    assert others.scores.tolist() == [[8, 7], [6, 5]]


def test_the_kind_is_chosen_by_the_bytes_of_the_vectors() -> None:
    assert [kind_for(number, 512) for number in (1, 100_000, 1_000_000, 5_000_000)] == [
        "flat",
        "flat",
        "hnsw",
        "ivf-pq",
    ]
    assert kind_for(5_000, 1 << 20) == "hnsw"
    assert num_lists(1_000_000) == 4000
    assert num_training_vectors("ivf-pq", 1_000_000) == 200_000
    assert num_training_vectors("ivf-pq", 10_000) == 10_000
    assert num_training_vectors("hnsw", 1_000_000) == 0


def test_without_faiss_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"an index needs FAISS: pip install 'ulmfit-ray\[search\]'"):
        require_faiss()
