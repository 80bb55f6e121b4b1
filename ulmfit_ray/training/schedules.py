"""Learning rates as pure functions of the step: a resumed run needs no state."""

import math
from collections.abc import Callable

ScheduleFunction = Callable[[int, int], tuple[float, float]]
"""(step, number of steps) -> the learning-rate multiplier and Adam's first beta."""


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def one_cycle(step: int, num_steps: int, *, warm_up: float = 0.25) -> tuple[float, float]:
    """Return the learning-rate multiplier and Adam's first beta at `step` of `num_steps`.

    fastai's `fit_one_cycle` (after Smith 2018): the rate climbs on a cosine from 1/25 to 1 during the first
    quarter and falls towards 1e-5, which would be the rate of the step after the last; beta1 falls from 0.8 to 0.7 and
    rises to 0.8 again.
    """
    position = step / num_steps
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


def slanted_triangular(step: int, num_steps: int, *, cut_frac: float = 0.1, ratio: float = 32) -> tuple[float, float]:
    """Return the multiplier and Adam's first beta: a short linear rise, then a long linear fall.

    Howard and Ruder (2018), eq. 3; their beta1 is 0.7. The multiplier rises from 1/ratio to 1 at step
    `cut_frac * num_steps` and comes back to 1/ratio after the last step.
    """
    cut = max(1, int(num_steps * cut_frac))
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
    return (1 + max(0.0, p) * (ratio - 1)) / ratio, 0.7


def constant(step: int, num_steps: int) -> tuple[float, float]:
    """Return 1, and Adam's usual first beta."""
    return 1.0, 0.9


SCHEDULES: dict[str, ScheduleFunction] = {
    "one-cycle": one_cycle,
    "linear": linear_decay,
    "slanted-triangular": slanted_triangular,
    "constant": constant,
}


def discriminative_lrs(learning_rate: float, num_groups: int, *, decay: float = 2.6) -> list[float]:
    """Return the rate of each layer group, lowest first: the last one's is `learning_rate` (ULMFiT, section 3.2)."""
    return [learning_rate / decay ** (num_groups - 1 - number) for number in range(num_groups)]
