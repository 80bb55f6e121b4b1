"""How well numbers put things in order that people have given scores: rank correlation, with its standard error."""

import math

import numpy as np

from ulmfit_ray.evaluation.ranking import Estimate


def spearman(scores: np.ndarray, found: np.ndarray) -> Estimate:
    """Return Spearman's rank correlation of two lists of numbers (N,), equals sharing the mean of their ranks.

    The standard error is that of Fisher's z by Bonett and Wright (2000), eq. 5, brought back to the correlation:
    (1 - r^2) sqrt((1 + r^2 / 2) / (N - 3)).

    Raises:
        ValueError: there are fewer than four pairs, or all numbers of one list are equal.
    """
    if len(scores) < 4:
        raise ValueError(f"a rank correlation needs four pairs at least, not {len(scores)}")
    if np.ptp(scores) == 0 or np.ptp(found) == 0:
        raise ValueError("all numbers on one side are equal: there is no order to compare")
    r = float(np.corrcoef(ranks(scores), ranks(found))[0, 1])
    return Estimate(r, (1 - r**2) * math.sqrt((1 + r**2 / 2) / (len(scores) - 3)))


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value from 1 on; equals have the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: np.ndarray = counts.cumsum() - (counts - 1) / 2
    return mean_ranks[places]
