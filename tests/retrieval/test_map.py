"""Places on a map: what they keep of the vectors' neighbourhoods, and what they do not depend on."""

import sys
from typing import Any

import numpy as np
import pytest
from joblib import cpu_count

from ulmfit_ray.retrieval.map import (
    STEPS,
    FittedMap,
    _num_threads,
    neighbours_kept,
    principal_components,
    require_open_tsne,
)
from ulmfit_ray.retrieval.search import normalize_rows


def groups(*sizes: int, width: int = 8, seed: int = 0) -> np.ndarray:
    """Return vectors of length 1, each group of them around a direction of its own."""
    random = np.random.default_rng(seed)
    rows = [random.normal(size=width) + 0.1 * random.normal(size=(size, width)) for size in sizes]
    return normalize_rows(np.concatenate(rows)).astype(np.float32)


def fitted(vectors: np.ndarray, **options: Any) -> FittedMap:
    return FittedMap(vectors, **{"perplexity": 10.0, "seed": 0} | options)


def test_groups_of_vectors_are_groups_on_the_map() -> None:
    positions = fitted(groups(40, 40, 40)).positions.reshape(3, 40, 2)
    centers = positions.mean(axis=1)
    within = np.linalg.norm(positions - centers[:, None], axis=2).max()
    assert min(np.linalg.norm(centers[a] - centers[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 2 * within


def test_the_map_keeps_more_neighbours_than_the_principal_components() -> None:
    vectors = normalize_rows(np.random.default_rng(0).normal(size=(150, 10))).astype(np.float32)
    found = fitted(vectors)
    of_map, of_components = (neighbours_kept(vectors, places) for places in (found.positions, found.principal))
    assert of_map is not None
    assert of_components is not None
    assert of_map > of_components + 0.1


def test_the_same_vectors_give_the_same_map_to_the_bit() -> None:
    vectors = groups(60, 60)
    assert fitted(vectors).positions.tobytes() == fitted(vectors).positions.tobytes()
    assert fitted(vectors).positions.tobytes() != fitted(vectors, seed=1).positions.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_a_few_documents_have_places_of_their_own_whatever_the_perplexity(size: int) -> None:
    positions = fitted(groups(size), perplexity=30.0).positions
    assert positions.shape == (size, 2)
    assert np.isfinite(positions).all()
    assert len(np.unique(positions.round(6), axis=0)) == size


@pytest.mark.parametrize("size", [2, 5, 40])
def test_documents_that_are_all_the_same_have_finite_places(size: int) -> None:
    assert np.isfinite(fitted(np.repeat(groups(1), size, axis=0)).positions).all()


def test_duplicates_lie_together() -> None:
    vectors = groups(30, 30)
    positions = fitted(np.concatenate([vectors, vectors[:5]])).positions
    assert np.linalg.norm(positions[60:] - positions[:5], axis=1).max() < 0.2 * np.ptp(positions)


def test_vectors_of_a_single_number_have_a_map() -> None:
    assert np.isfinite(fitted(np.array([[1.0]] * 6 + [[-1.0]] * 6, np.float32)).positions).all()


def test_steps_are_told_as_they_are_made() -> None:
    told: list[int] = []
    fitted(groups(10, 10), advance=told.append)
    assert sum(told) == sum(STEPS)
    assert len(told) > 10


def test_others_are_placed_into_their_group_each_for_itself() -> None:
    vectors = groups(60, 60)
    is_sampled = np.arange(120) % 4 > 0
    found = fitted(vectors[is_sampled])
    placed = found.place(vectors[~is_sampled])
    centers = [found.positions[:45].mean(axis=0), found.positions[45:].mean(axis=0)]
    nearest = np.argmin([np.linalg.norm(placed - center, axis=1) for center in centers], axis=0)
    assert nearest.tolist() == [0] * 15 + [1] * 15
    alone = [found.place(vectors[row : row + 1])[0] for row in np.flatnonzero(~is_sampled)]
    np.testing.assert_allclose(placed, alone, rtol=1e-5)


def test_nothing_is_placed_where_there_is_nothing_to_place() -> None:
    assert fitted(groups(20)).place(np.empty((0, 8), np.float32)).shape == (0, 2)


def test_neighbours_kept_are_those_that_a_plain_loop_counts() -> None:
    random = np.random.default_rng(1)
    vectors, positions = groups(20, 30), random.normal(size=(50, 2))
    shares = []
    for row in range(50):
        others = [other for other in range(50) if other != row]
        in_space = sorted(others, key=lambda other, row=row: -float(vectors[row] @ vectors[other]))[:10]  # type: ignore[misc]
        on_map = sorted(others, key=lambda other, row=row: float(np.linalg.norm(positions[row] - positions[other])))  # type: ignore[misc]
        shares.append(len({*in_space} & {*on_map[:10]}) / 10)
    assert neighbours_kept(vectors, positions) == pytest.approx(np.mean(shares))


def test_a_document_alone_has_no_neighbours_to_keep_and_two_keep_each_other() -> None:
    assert neighbours_kept(groups(1), np.zeros((1, 2))) is None
    assert neighbours_kept(groups(2), np.array([[0.0, 0.0], [1.0, 1.0]])) == 1


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    vectors = groups(30, 20, 10)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(principal_components(vectors)), np.abs(left * values)[:, :2], atol=1e-5)


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("0", cpu_count()), ("", cpu_count()), ("4,2", cpu_count())])
def test_it_uses_as_many_threads_as_are_said(monkeypatch: pytest.MonkeyPatch, said: str, expected: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert _num_threads() == expected


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(ValueError, match=r"pip install 'ulmfit-ray\[map\]'"):
        require_open_tsne()
