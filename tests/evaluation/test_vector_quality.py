import numpy as np
import pytest

from ulmfit_ray.evaluation.vector_quality import VectorQuality


def test_lengths_are_percentiles_and_cosines_those_of_random_pairs():
    random = np.random.default_rng(0)
    directions = random.normal(size=(500, 64))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.linspace(1, 3, 500)
    found = VectorQuality.of((directions * lengths[:, None]).astype(np.float32))
    assert found.lengths == pytest.approx((1.02, 2, 2.98), abs=1e-3)
    cosines = (directions @ directions.T)[~np.eye(500, dtype=bool)]
    assert found.mean_cosine == pytest.approx(cosines.mean(), abs=2e-3)
    assert found.deviation == pytest.approx(cosines.std(), rel=0.02)


def test_documents_that_are_all_alike_have_a_cosine_of_one():
    found = VectorQuality.of(np.ones((3, 8), np.float32))
    assert (found.mean_cosine, found.deviation) == pytest.approx((1, 0), abs=1e-6)


def test_a_document_is_never_compared_with_itself():
    assert VectorQuality.of(np.eye(2, dtype=np.float32)).mean_cosine == 0
