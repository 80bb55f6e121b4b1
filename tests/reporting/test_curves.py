"""The pictures of a training show what its log says, and nothing flattens it."""

import math
import subprocess
import sys

import numpy as np

from ulmfit_ray.reporting.curves import _draw_rates, _draw_training, _running_mean, rate_curve, training_curves
from ulmfit_ray.reporting.training_log import Row

PNG = b"\x89PNG\r\n\x1a\n"


def language_models_log(num_rows: int, per_epoch: int) -> list[Row]:
    """A loss that falls from 11 to 4 within the first 3 % of the steps, and a little afterwards."""
    rows: list[Row] = []
    for number in range(1, num_rows + 1):
        part, step, epoch = number / num_rows, 20 * number, 1 + (number - 1) // per_epoch
        loss = 4 - 0.5 * part + 7 * math.exp(-200 * part)
        rows.append({"step": step, "epoch": epoch, "loss": loss, "tokens": 100, "learning_rate": 1e-3 * part})
        if number % per_epoch == 0:
            rows.append({"step": step, "epoch": epoch, "loss": loss + 0.1, "perplexity": math.exp(loss + 0.1)})
    return rows


def test_the_huge_losses_of_the_first_steps_do_not_flatten_the_others() -> None:
    losses, rates = _draw_training(language_models_log(500, 100)).axes
    bottom, top = losses.get_ylim()
    assert 3.3 < bottom < 3.5
    assert 4 < top < 4.3
    assert rates.get_ylim()[0] == 0


def test_the_curves_pass_through_the_rows_of_the_log() -> None:
    log = language_models_log(50, 25)
    losses, rates = _draw_training(log).axes
    training, validation = losses.get_lines()
    rows = [row for row in log if "learning_rate" in row]
    np.testing.assert_array_equal(training.get_xydata(), [[row["step"], row["loss"]] for row in rows])
    expected = [[row["step"], row["loss"]] for row in log if "perplexity" in row]
    np.testing.assert_array_equal(validation.get_xydata(), expected)
    np.testing.assert_array_equal(rates.get_lines()[0].get_ydata(), [row["learning_rate"] for row in rows])
    assert losses.get_shared_x_axes().joined(losses, rates)


def test_a_retrievers_log_has_no_validation_and_gives_a_picture_of_its_own_loss() -> None:
    log: list[Row] = [
        {"step": 20, "epoch": 1, "loss": 9.0, "tokens": 100, "accuracy_joint": 0.1, "learning_rate": 1e-2},
        {"step": 40, "epoch": 1, "loss": 3.0, "tokens": 100, "accuracy_joint": 0.5, "learning_rate": 0.0},
        {"step": 40, "epoch": 1, "seconds": 0.1},
    ]
    losses, _ = _draw_training(log).axes
    assert len(losses.get_lines()) == 1
    assert losses.get_ylabel() == "loss (nats)"
    assert training_curves(log).startswith(PNG)


def test_a_training_of_a_single_step_has_a_picture_too() -> None:
    assert training_curves(language_models_log(1, 1)).startswith(PNG)


def test_the_running_mean_is_that_of_a_plain_loop() -> None:
    values = np.random.default_rng(0).normal(size=23)
    expected = [values[max(0, place - 3) : place + 4].mean() for place in range(23)]
    np.testing.assert_allclose(_running_mean(values.tolist(), 3), expected)


def test_the_suggested_rate_is_marked_and_the_diverging_end_cut_off() -> None:
    rates = np.geomspace(1e-7, 10, 80).tolist()
    losses = [10.0] * 40 + np.linspace(10, 6, 30).tolist() + np.linspace(6, 200, 10).tolist()
    axes = _draw_rates(rates, losses, losses, 3e-3).axes[0]
    assert axes.get_xscale() == "log"
    bottom, top = axes.get_ylim()
    assert bottom < 6
    assert 10 < top < 13
    assert axes.get_lines()[-1].get_xdata()[0] == 3e-3
    assert rate_curve(rates, losses, losses, 3e-3).startswith(PNG)


def test_drawing_neither_keeps_figures_nor_looks_for_a_screen() -> None:
    program = (
        "import sys; from ulmfit_ray.reporting.curves import training_curves;"
        "row = {'step': 1, 'epoch': 1, 'loss': 2.0, 'tokens': 3, 'learning_rate': 0.1};"
        "assert 'matplotlib' not in sys.modules;"
        "training_curves([row]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
