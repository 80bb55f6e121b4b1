"""Averaged gradient descent, beside torch's ASGD and the trigger of awd-lstm-lm."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ulmfit_ray.training.averaging import WeightAverage
from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.judge import Judge


def gradient(model: nn.Module, step: int) -> None:
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, 0.1 * (step + 1) * (number + 1))


def test_the_means_are_those_of_torchs_averaged_gradient_descent():
    ours, theirs = nn.Linear(2, 3), nn.Linear(2, 3)
    theirs.load_state_dict(ours.state_dict())
    plain = torch.optim.SGD(ours.parameters(), lr=0.5)
    # As awd-lstm-lm calls it: no decay of the rate. What torch calls the mean after its first step is left out of it.
    averaged = torch.optim.ASGD(theirs.parameters(), lr=0.5, t0=0, lambd=0.0)
    average = WeightAverage(ours)
    for step in range(6):
        gradient(ours, step)
        gradient(theirs, step)
        plain.step()
        averaged.step()
        if step > 0:
            average.update()
    for (name, mean), parameter in zip(average.means.items(), theirs.parameters(), strict=True):
        assert_close(mean, averaged.state[parameter]["ax"], msg=name)
    assert average.num_steps == 5


def test_a_model_has_the_means_for_a_while_and_its_own_weights_again():
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model)
    for value in (1.0, 3.0):
        nn.init.constant_(model.weight, value)
        average.update()
    with average.in_place():
        assert model.weight.item() == 2.0
    assert model.weight.item() == 3.0


def test_before_the_first_step_a_model_keeps_its_own_weights():
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    with WeightAverage(model).in_place():
        assert model.weight.item() == before


def triggered(losses: list[float], interval: int) -> int | None:
    """Return the epoch at whose end awd-lstm-lm (main.py, 2018) switches to averaging."""
    best_val_loss: list[float] = []
    for epoch, val_loss in enumerate(losses):
        if len(best_val_loss) > interval and val_loss > min(best_val_loss[:-interval]):
            return epoch
        best_val_loss.append(val_loss)
    return None


@pytest.mark.parametrize("interval", [1, 2, 5])
def test_averaging_begins_where_awd_lstm_lm_begins_it(interval: int):
    config = TrainingConfig(optimizer="nt-asgd", schedule="constant", non_monotone_interval=interval)
    generator = torch.Generator().manual_seed(interval)
    for _ in range(200):
        falling = torch.linspace(5, 4, 12) + 0.2 * torch.rand(12, generator=generator)
        judge, found = Judge(config), None
        for epoch, loss in enumerate(falling.tolist()):
            judge.add({"loss": loss}, nn.Linear(1, 1))
            found = epoch if found is None and judge.wants_average else found
            assert judge.wants_average == (found is not None)
        assert found == triggered(falling.tolist(), interval)


def test_other_optimizers_never_average():
    judge = Judge(TrainingConfig(non_monotone_interval=1))
    for loss in (1.0, 2.0, 3.0, 4.0):
        judge.add({"loss": loss}, nn.Linear(1, 1))
    assert not judge.wants_average


def test_training_is_over_after_so_many_epochs_without_a_better_one():
    judge = Judge(TrainingConfig(patience=2))
    found = []
    for loss in (3.0, 2.0, 2.5, 1.9, 2.2, 1.9):
        judge.add({"loss": loss}, nn.Linear(1, 1))
        found.append(judge.is_over(0))
    assert found == [False, False, False, False, False, True]


@pytest.mark.parametrize("options", [{"keep_best": True}, {"patience": 1}, {"optimizer": "nt-asgd"}])
def test_what_needs_validation_is_refused_without_it(options: dict):
    with pytest.raises(ValueError, match="need validation documents"):
        Judge(TrainingConfig(**options)).add({}, nn.Linear(1, 1))
