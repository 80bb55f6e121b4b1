"""When dropouts are drawn: anew at each step, the same for the same step, never for validation."""

import pytest

from ulmfit_ray.model.architecture import DROPOUTS

ONE = pytest.mark.parametrize("name", DROPOUTS)


@ONE
def test_each_dropout_is_drawn_anew_at_each_step_and_alike_for_the_same(make_task, training, architecture, name: str):
    task = make_task(training, shape=architecture.without_dropout(**{name: 0.5}))
    # The second window: at the first one's first step the state is still zero.
    (first,), (batch,), *_ = task.batches(0, 0)
    carry = task.loss(task.model, first, task.initial_carry()[0], 0)[1]
    losses = [task.loss(task.model, batch, carry, step)[0].item() for step in (1, 2, 3, 1)]
    undropped = make_task(training, shape=architecture.without_dropout())
    assert len({*losses, undropped.loss(undropped.model, batch, carry, 1)[0].item()}) == 4
    assert losses[3] == losses[0]


@ONE
def test_validation_drops_nothing_in_whatever_mode_the_model_is(make_task, training, architecture, name: str):
    expected = make_task(training, shape=architecture.without_dropout()).validate()
    task = make_task(training, shape=architecture.without_dropout(**{name: 0.5}))
    task.model.train()
    assert task.validate() == expected
