"""The search for a learning rate against fastai's own `lr_find` (tests/golden/fastai_rates.json)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ulmfit_ray.training.rate_sweep import RateSweep, exponential, valley

SWEEPS = json.loads((Path(__file__).parents[1] / "golden/fastai_rates.json").read_text())


@pytest.fixture(params=SWEEPS, ids=[f"{len(sweep['rates'])}-of-{sweep['num_steps']}" for sweep in SWEEPS])
def sweep(request: pytest.FixtureRequest) -> Any:
    return request.param


def replayed(sweep: Any) -> RateSweep:
    """Feed fastai's losses until our sweep says that it has diverged."""
    ours = RateSweep()
    for rate, loss in zip(sweep["rates"], sweep["losses"], strict=True):
        ours.add(rate, loss)
        if ours.has_diverged:
            break
    return ours


def test_the_recorded_sweeps_are_of_both_sorts() -> None:
    assert {len(sweep["rates"]) < sweep["num_steps"] for sweep in SWEEPS} == {True, False}


def test_the_rates_are_fastais(sweep: Any) -> None:
    ours = [
        exponential(step, num_steps=sweep["num_steps"], first=sweep["first"], last=sweep["last"])
        for step in range(len(sweep["rates"]))
    ]
    np.testing.assert_allclose(ours, sweep["rates"], rtol=1e-12)


def test_a_sweep_ends_at_fastais_step_with_its_smoothed_losses(sweep: Any) -> None:
    ours = replayed(sweep)
    assert len(ours.rates) == len(sweep["rates"])
    np.testing.assert_allclose(ours.smoothed, sweep["smoothed"], rtol=1e-5)


def test_the_suggested_rate_is_fastais(sweep: Any) -> None:
    # fastai keeps its rates in single precision.
    assert replayed(sweep).suggested_rate(sweep["num_steps"]) == pytest.approx(sweep["suggested"], rel=1e-6)


@pytest.mark.parametrize(
    ("losses", "place"),
    [
        ([5.0], 0),
        ([1.0, 2.0, 3.0], 0),
        # Nine that fall, from 0 to 8: -1 + 3 + 1.
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 3),
        # The same after two that rise, and with a hump in the middle, which makes the fall one longer from its end.
        ([1.5, 2.5, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 5),
        ([9.0, 8.0, 7.0, 6.0, 7.5, 5.0, 4.0, 3.0, 2.0, 1.0], 4),
        # fastai takes the last place here, which is the worst.
        ([2.0, 1.0, 3.0, 4.0], 0),
    ],
)
def test_the_valley_of_a_curve_that_can_be_counted_by_hand(losses: list[float], place: int) -> None:
    assert valley(losses) == place


def test_a_sweep_that_diverges_before_a_tenth_of_its_steps_is_refused_with_what_to_do() -> None:
    sweep = RateSweep()
    for rate in range(15):
        sweep.add(float(rate), 1.0)
    with pytest.raises(ValueError, match="after 15 of 100 steps, too early for a suggestion: lower --first-rate"):
        sweep.suggested_rate(100)
    sweep.add(15.0, 1.0)
    assert sweep.suggested_rate(100) == 10.0
