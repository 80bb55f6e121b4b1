"""What the rows of a training log say, read together."""

from typing import Any

from ulmfit_ray.reporting.training_log import Row, epoch_line, forecast


def steps(step: int, loss: float, tokens: float, seconds: float, **more: Any) -> Row:
    return {"step": step, "epoch": 1, "loss": loss, "tokens": tokens, "learning_rate": 1e-3, "seconds": seconds, **more}


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_tokens() -> None:
    validation = {"step": 40, "epoch": 1, "loss": 4.9, "perplexity": 1234.56, "accuracy": 0.2434, "seconds": 4.0}
    line = epoch_line([steps(20, 6.0, 30_000, 2.0), steps(40, 5.0, 10_000, 2.0), validation])
    assert line == (
        "training loss 5.750, validation loss 4.900, perplexity 1,234.6, accuracy 24.3%, 10,000 tokens/s, 8 s"
    )


def test_an_epoch_that_is_not_validated_has_the_figures_of_its_training() -> None:
    rows = [steps(20, 3.0, 500, 1.0, accuracy_joint=0.5), steps(40, 2.0, 500, 1.0, accuracy_joint=0.7)]
    line = epoch_line([*rows, {"step": 40, "epoch": 1, "seconds": 0.0}])
    assert line == "training loss 2.500, training accuracy_joint 60.0%, 500 tokens/s, 2 s"


def test_a_row_of_an_earlier_version_has_no_seconds_and_is_left_out_of_the_speed() -> None:
    timeless = {name: value for name, value in steps(20, 6.0, 70_000, 0).items() if name != "seconds"}
    assert epoch_line([timeless, steps(40, 6.0, 1_000, 2.0)]) == "training loss 6.000, 500 tokens/s, 2 s"
    assert epoch_line([timeless]) == "training loss 6.000, 0 tokens/s, 0 s"


def test_a_forecast_waits_for_twenty_steps_and_ten_seconds_after_the_first_row() -> None:
    first = steps(1, 9.0, 100, 50.0)
    assert forecast([], 3_600) == ""
    assert forecast([first], 3_600) == ""
    assert forecast([first, steps(20, 8.0, 1_900, 11.0)], 3_600) == ""
    assert forecast([first, steps(20, 8.0, 1_900, 5.0), steps(40, 8.0, 2_000, 4.9)], 3_600) == ""
    said = forecast([first, steps(20, 8.0, 1_900, 9.5), steps(40, 8.0, 2_000, 10.0)], 3_600)
    assert said == "about 30 min for 3,600 steps at 200 tokens/s"


def test_a_run_that_goes_on_says_how_long_the_rest_takes() -> None:
    rows = [steps(1_800, 5.0, 900, 90.0), steps(1_820, 5.0, 2_000, 10.0), steps(1_840, 5.0, 2_000, 10.0)]
    assert forecast(rows, 3_600, 1_791) == "about 15 min for the remaining 1,809 of 3,600 steps at 200 tokens/s"


def test_validations_count_for_nothing_in_a_forecast() -> None:
    validation = {"step": 20, "epoch": 1, "loss": 4.9, "seconds": 1_000.0}
    rows = [steps(1, 9.0, 100, 1.0), steps(20, 8.0, 1_900, 9.5), validation, steps(41, 8.0, 2_100, 10.5)]
    assert forecast(rows, 3_600) == "about 30 min for 3,600 steps at 200 tokens/s"
