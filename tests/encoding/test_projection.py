from pathlib import Path

import numpy as np
import pytest

from ulmfit_ray.encoding.projection import Method, Projection

WHOLE = np.array([[0, 12]])


def sample(number: int = 400, width: int = 12, seed: int = 0) -> np.ndarray:
    """Vectors with a large mean in common, and axes of very different lengths."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(number, width)) * np.logspace(0, -2, width) + 3).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def covariance(vectors: np.ndarray) -> np.ndarray:
    return np.cov(vectors.astype(np.float64).T, bias=True)


@pytest.mark.parametrize(
    ("text", "method"), [("center", ("center", None)), ("pca:3", ("pca", 3)), ("whiten:256", ("whiten", 256))]
)
def test_a_method_is_read(text: str, method: tuple[str, int | None]):
    assert Method.parse(text) == Method(*method)


@pytest.mark.parametrize("text", ["", "centre", "pca", "pca:0", "whiten:-1", "whiten:2.5", "center:3"])
def test_another_method_is_refused_with_those_there_are(text: str):
    with pytest.raises(ValueError, match="none of center, whiten:256, pca:256"):
        Method.parse(text)


def test_centring_takes_the_mean_away_and_spreads_the_cosines():
    vectors = sample()
    found = Projection.fit(Method("center", None), WHOLE, vectors).apply(vectors)
    np.testing.assert_allclose(found, unit(vectors) - unit(vectors).mean(0), atol=1e-6)
    assert (unit(vectors) @ unit(vectors).T).mean() > 0.95
    assert abs((unit(found) @ unit(found).T).mean()) < 0.05


def test_pca_keeps_the_longest_axes_as_long_as_they_are():
    vectors = sample()
    found = Projection.fit(Method("pca", 4), WHOLE, vectors).apply(vectors)
    values = np.linalg.eigvalsh(covariance(unit(vectors)))[::-1]
    assert found.shape == (400, 4)
    np.testing.assert_allclose(covariance(found), np.diag(values[:4]), atol=1e-3 * values[0])


def test_whitening_makes_the_axes_nearly_equally_long_where_there_are_many_documents():
    vectors = sample(50_000)
    found = Projection.fit(Method("whiten", 6), WHOLE, vectors).apply(vectors)
    np.testing.assert_allclose(covariance(found), np.eye(6), atol=0.05)


def test_with_few_documents_short_axes_are_not_blown_up():
    random = np.random.default_rng(1)
    few, others = (random.normal(size=(number, 60)).astype(np.float32) for number in (70, 5000))
    projection = Projection.fit(Method("whiten", 60), np.array([[0, 60]]), few)
    # All axes are equally long in truth; of 70 vectors the shortest looks a hundred times shorter.
    variances = projection.apply(others).var(0)
    assert variances.max() / variances.min() < 3


def test_the_shrinkage_is_that_of_ledoit_and_wolf_as_scikit_learn_has_it():
    covariances = pytest.importorskip("sklearn.covariance")
    from ulmfit_ray.encoding.projection import _shrunk_covariance

    vectors = np.random.default_rng(2).normal(size=(40, 15)) * np.arange(1, 16)
    centred = vectors - vectors.mean(0)
    expected = covariances.LedoitWolf(assume_centered=True).fit(centred).covariance_
    np.testing.assert_allclose(_shrunk_covariance(centred), expected, rtol=1e-10)


def test_each_block_is_scaled_by_itself_first():
    vectors = sample()
    loud = vectors * np.repeat([1.0, 1000.0], 6).astype(np.float32)
    parts = np.array([[0, 6], [6, 12]])
    quiet, other = (Projection.fit(Method("pca", 5), parts, own).apply(own) for own in (vectors, loud))
    np.testing.assert_allclose(quiet, other, atol=1e-5)


def test_a_vector_is_projected_alike_in_whatever_company(tmp_path: Path):
    vectors = sample(9_000)
    projection = Projection.fit(Method("whiten", 5), WHOLE, vectors)
    projection.save(tmp_path / "projection.npz")
    again = Projection.load(tmp_path / "projection.npz")
    together = again.apply(vectors)
    assert together.dtype == np.float32
    for number in (0, 1, 4095, 4096, 8999):
        np.testing.assert_array_equal(projection.apply(vectors[number : number + 1])[0], together[number])
    assert projection.apply(vectors[:0]).shape == (0, 5)


def test_the_axes_do_not_depend_on_the_order_of_the_sample():
    vectors = sample()
    found = [Projection.fit(Method("pca", 5), WHOLE, own).apply(vectors) for own in (vectors, vectors[::-1])]
    np.testing.assert_allclose(*found, atol=1e-6)


@pytest.mark.parametrize(("number", "size"), [(400, 13), (8, 8)])
def test_more_dimensions_than_there_are_are_refused(number: int, size: int):
    with pytest.raises(ValueError, match=f"{size} dimensions are asked for"):
        Projection.fit(Method("pca", size), WHOLE, sample(number))


def test_a_centring_projection_has_no_axes_on_disk(tmp_path: Path):
    projection = Projection.fit(Method("center", None), WHOLE, sample())
    projection.save(tmp_path / "p.npz")
    assert Projection.load(tmp_path / "p.npz").axes is None
