import math

import pytest

from ulmfit_ray.training.schedules import (
    SCHEDULES,
    discriminative_lrs,
    linear_decay,
    one_cycle,
    slanted_triangular,
)

# fastai 2.8.12: combined_cos(.25, 1/25, 1, 1e-5) and combined_cos(.25, .8, .7, .8) at step / 8.
FASTAI = [
    (0.04, 0.8),
    (0.52, 0.75),
    (1.0, 0.7),
    (0.93301337, 0.70669873),
    (0.75000249, 0.725),
    (0.500005, 0.75),
    (0.25000747, 0.775),
    (0.06699664, 0.79330127),
    (0.00001, 0.8),
]


@pytest.mark.parametrize(("step", "expected"), list(enumerate(FASTAI)))
def test_one_cycle_follows_fastais_table(step: int, expected: tuple[float, float]):
    # fastai's pct_train of the step i of n is i / n.
    assert one_cycle(step, 8) == pytest.approx(expected, abs=1e-7)


def test_a_cycle_of_two_steps_moves_the_weights():
    assert sum(one_cycle(step, 2)[0] for step in range(2)) > 0.7


def test_one_cycle_with_another_warm_up_peaks_where_that_ends():
    # fastai 2.8.12: combined_cos(.5, 1/25, 1, 1e-5) at 0, 1/4, 1/2, 3/4, 1.
    rates = [one_cycle(step, 4, warm_up=0.5)[0] for step in range(5)]
    assert rates == pytest.approx([0.04, 0.52, 1.0, 0.500005, 1e-5], abs=1e-7)


def test_linear_decay_follows_a_table_worked_out_by_hand():
    # 20 steps: a rise over two, then (20 - step) / 18.
    table = [1 / 2, 1, 1, 17 / 18, 16 / 18, 15 / 18, 14 / 18, 13 / 18, 12 / 18, 11 / 18]
    table += [10 / 18, 9 / 18, 8 / 18, 7 / 18, 6 / 18, 5 / 18, 4 / 18, 3 / 18, 2 / 18, 1 / 18]
    assert [linear_decay(step, 20)[0] for step in range(20)] == pytest.approx(table)
    assert {linear_decay(step, 20)[1] for step in range(20)} == {0.9}


@pytest.mark.parametrize("name", ["one-cycle", "linear", "slanted-triangular"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 1000])
def test_every_schedule_stays_above_zero_and_never_exceeds_the_highest_rate(name: str, num_steps: int):
    multipliers = [SCHEDULES[name](step, num_steps)[0] for step in range(num_steps)]
    assert all(math.isfinite(multiplier) and 0 < multiplier <= 1 for multiplier in multipliers)
    if num_steps == 1000:
        assert max(multipliers) == pytest.approx(1, abs=1e-4)
        assert multipliers[-1] < 0.04


def test_slanted_triangular_follows_equation_3_of_the_paper():
    # T = 20, cut_frac = 0.1, ratio = 32: cut = 2; p = t / 2, then 1 - (t - 2) / (2 * 9); (1 + p * 31) / 32.
    table = [1 / 32, (1 + 31 / 2) / 32, 1.0]
    table += [(1 + (1 - number / 18) * 31) / 32 for number in range(1, 18)]
    assert [slanted_triangular(step, 20)[0] for step in range(20)] == pytest.approx(table)
    assert slanted_triangular(20, 20)[0] == pytest.approx(1 / 32)
    assert {slanted_triangular(step, 20)[1] for step in range(20)} == {0.7}


def test_discriminative_rates_fall_by_2_6_from_group_to_group():
    assert discriminative_lrs(0.01, 4) == pytest.approx([0.01 / 17.576, 0.01 / 6.76, 0.01 / 2.6, 0.01])
    assert discriminative_lrs(0.01, 3, decay=1.0) == [0.01, 0.01, 0.01]
