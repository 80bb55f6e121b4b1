"""A run that is asked to stop finishes its step and leaves a state from which nothing differs."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from ulmfit_ray.training.loop import Report, train


def answers(*said: bool) -> Iterator[bool]:
    yield from said
    while True:
        yield False


def run(task, training, start=None, stop_at: int = 0) -> list[Report]:
    """Train, asked to stop when the question has been put `stop_at` times (0: never)."""
    said = answers(*[False] * (stop_at - 1), *[True] * bool(stop_at))
    return [
        replace(report, state=report.state and {name: value.clone() for name, value in report.state.items()})
        for report in train(task, training, start=start, should_stop=lambda: next(said))
    ]


@pytest.mark.parametrize("stop_at", [1, 4, 9])
def test_the_step_is_finished_and_the_state_is_the_last_report(make_task, training, stop_at: int):
    reports = run(make_task(training), replace(training, report_every_steps=100), stop_at=stop_at)
    assert (reports[-1].step, reports[-1].is_stopped, reports[-1].is_epoch_end) == (stop_at, True, False)
    assert reports[-1].state is not None
    assert int(reports[-1].state["step"]) == stop_at


def test_at_an_epochs_end_the_validation_is_done_first(make_task, training):
    # Nine questions after nine steps, the tenth after the validation of an epoch of ten steps.
    reports = run(make_task(training), training, stop_at=10)
    assert (reports[-1].step, reports[-1].is_stopped, reports[-1].is_epoch_end) == (10, True, True)
    assert "perplexity" in reports[-1].metrics
    assert reports[-1].state is not None


@pytest.mark.parametrize("stop_at", [3, 10, 14])
def test_a_run_stopped_and_gone_on_with_ends_with_the_same_bits(make_task, training, stop_at: int):
    whole = run(make_task(training), training)[-1].state
    stopped = run(make_task(training), training, stop_at=stop_at)[-1].state
    resumed = run(make_task(training, model_seed=9), training, start=stopped)[-1].state
    assert whole is not None
    assert resumed is not None
    assert [name for name, value in whole.items() if not torch.equal(resumed[name], value)] == []


def test_a_run_is_not_stopped_after_its_last_step(make_task, training):
    reports = run(make_task(training), replace(training, num_epochs=1), stop_at=10)
    assert reports[-1].is_last
    assert not reports[-1].is_stopped
