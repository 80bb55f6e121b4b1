"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no state for them."""

import math
from collections.abc import Callable

Schedule = Callable[[int, int], tuple[float, float]]
"""(step, number of steps) -> the learning-rate multiplier and Adam's first beta."""


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def one_cycle(step: int, num_steps: int, *, warm_up: float = 0.25) -> tuple[float, float]:
    """Return the learning-rate multiplier and Adam's first beta at `step` of `num_steps`.

    fastai's `fit_one_cycle` (after Smith 2018): the rate climbs on a cosine from 1/25 to 1 during the first
    quarter and falls to 1e-5; beta1 falls from 0.8 to 0.7 and rises to 0.8 again.
    """
    position = step / max(1, num_steps - 1)
    if position < warm_up:
        fraction = position / warm_up
        return _cosine(1 / 25, 1.0, fraction), _cosine(0.8, 0.7, fraction)
    fraction = (position - warm_up) / (1 - warm_up)
    return _cosine(1.0, 1e-5, fraction), _cosine(0.7, 0.8, fraction)


def linear_decay(step: int, num_steps: int, *, warm_up: float = 0.1) -> tuple[float, float]:
    """Return the multiplier and Adam's first beta: a linear rise for a fraction `warm_up`, then a fall to 0."""
    rise = max(1, round(warm_up * num_steps))
    multiplier = min((step + 1) / rise, (num_steps - step) / max(1, num_steps - rise))
    return min(1.0, multiplier), 0.9


SCHEDULES: dict[str, Schedule] = {"one-cycle": one_cycle, "linear": linear_decay}
