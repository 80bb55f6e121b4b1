"""Rank correlation against scipy's, and its standard error against repeated samples."""

import numpy as np
import pytest
from scipy import stats

from ulmfit_ray.evaluation.similarity import ranks, spearman


@pytest.mark.parametrize("num_levels", [3, 10, 1000])
def test_rank_correlation_is_that_of_scipy_with_and_without_equals(num_levels: int) -> None:
    random = np.random.default_rng(num_levels)
    scores = random.integers(num_levels, size=200).astype(float)
    found = scores + random.normal(size=200) * num_levels / 3
    assert spearman(scores, found).mean == pytest.approx(stats.spearmanr(scores, found).statistic)
    assert ranks(scores) == pytest.approx(stats.rankdata(scores))


@pytest.mark.parametrize("strength", [0.0, 0.6, 0.9])
def test_the_standard_error_is_how_much_samples_differ(strength: float) -> None:
    random = np.random.default_rng(7)
    estimates = []
    for _ in range(400):
        x = random.normal(size=150)
        y = strength * x + np.sqrt(1 - strength**2) * random.normal(size=150)
        estimates.append(spearman(x, y))
    spread = np.std([estimate.mean for estimate in estimates])
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(("scores", "found"), [([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3, 4], [5, 5, 5, 5])])
def test_numbers_that_are_all_equal_have_no_order(scores: list[float], found: list[float]) -> None:
    with pytest.raises(ValueError, match="all numbers on one side are equal"):
        spearman(np.array(scores), np.array(found))


def test_three_pairs_are_too_few() -> None:
    with pytest.raises(ValueError, match="needs four pairs at least, not 3"):
        spearman(np.arange(3.0), np.arange(3.0))
