"""Unfreezing, keep-best, early stopping, averaging, accumulation and float16, in whole trainings of the toy task."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from ulmfit_ray.model.files import load_tensors, save_tensors
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.loop import Report, train
from ulmfit_ray.training.state import AVERAGE, BEST, MODEL, State, final_weights, part


def run(task, training: LanguageModelTraining, start: State | None = None) -> list[Report]:
    """Train to the end; states are copied, because the loop's own go on changing."""
    reports = []
    for report in train(task, training, start=start):
        state = report.state and {name: value.detach().clone() for name, value in report.state.items()}
        reports.append(replace(report, state=state))
    return reports


def epoch_losses(reports: list[Report]) -> list[float]:
    return [report.metrics["loss"] for report in reports if report.is_epoch_end]


def changed_groups(task, before: State, after: State) -> list[str]:
    """Return the names of the layer groups with a weight that differs between two states."""
    names = {id(parameter): f"{MODEL}{name}" for name, parameter in task.model.named_parameters()}
    return [
        group
        for group, parameters in task.layer_groups()
        if any(not torch.equal(before[names[id(one)]], after[names[id(one)]]) for one in parameters)
    ]


def test_gradual_unfreezing_changes_only_the_groups_of_its_stage(make_task, training):
    training = replace(training, num_epochs=4, unfreeze=(1, 2, 3, 0), checkpoint_every_steps=1)
    task = make_task(training)
    first = {f"{MODEL}{name}": value.clone() for name, value in task.model.state_dict().items()}
    ends = [first] + [report.state for report in run(task, training) if report.is_epoch_end]
    changed = [changed_groups(task, *pair) for pair in pairwise(ends)]
    every = ["layer 1", "layer 2", "decoder"]
    assert changed == [["decoder"], ["layer 2", "decoder"], every, every]


def test_each_stage_of_unfreezing_runs_through_the_schedule_anew(make_task, training):
    training = replace(training, num_epochs=3, unfreeze=(1, 0), learning_rate=1.0, schedule="linear")
    rates = [
        report.metrics["learning_rate"] for report in run(make_task(training), training) if not report.is_epoch_end
    ]
    assert [round(rate, 6) for rate in rates[:10]] == [round(min(1.0, (10 - step) / 9), 6) for step in range(10)]
    assert rates[10:12] == pytest.approx([0.5, 1.0])
    assert rates[-1] == pytest.approx(1 / 18)


def test_discriminative_rates_move_lower_layers_less(make_task, training):
    training = replace(training, optimizer="nt-asgd", schedule="constant", gradient_clip=1e9, num_epochs=1)
    training = replace(training, learning_rate=0.1, weight_decay=0.0)
    moved = {}
    for decay in (1.0, 2.0):
        task = make_task(replace(training, discriminative_decay=decay))
        before = task.model.backbone.layers[0].weight_ih_l0.detach().clone()
        next(train(task, replace(training, discriminative_decay=decay)))
        moved[decay] = (task.model.backbone.layers[0].weight_ih_l0.detach() - before).abs().max()
    assert_close(moved[2.0], moved[1.0] / 4)


def test_keep_best_leaves_the_weights_of_the_best_epoch(make_task, training):
    # A rate that destroys what was learned before it: the best epoch is not the last.
    training = replace(training, num_epochs=8, schedule="constant", learning_rate=3.0, checkpoint_every_steps=1)
    plain = run(make_task(training), training)
    losses = epoch_losses(plain)
    best = losses.index(min(losses))
    assert best < 7
    kept = run(make_task(training), replace(training, keep_best=True))
    of_best_epoch = [report.state for report in plain if report.is_epoch_end][best]
    found = final_weights(kept[-1].state)
    assert all(torch.equal(found[name], value) for name, value in part(of_best_epoch, MODEL).items())


def test_training_ends_early_when_the_loss_has_not_fallen_for_so_many_epochs(make_task, training):
    training = replace(training, num_epochs=30, schedule="constant", learning_rate=0.3, patience=2)
    reports = run(make_task(training), training)
    losses = epoch_losses(reports)
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3
    assert reports[-1].is_last
    assert reports[-1].state is not None


def averaging(training: LanguageModelTraining) -> LanguageModelTraining:
    """Return a training whose validation loss rises at once, so that averaging begins after the third epoch."""
    return replace(
        training,
        num_epochs=5,
        optimizer="nt-asgd",
        schedule="constant",
        learning_rate=20.0,
        non_monotone_interval=1,
        weight_decay=0.0,
    )


def test_nt_asgd_validates_and_ends_with_the_mean_of_the_weights_since_it_began_to_average(make_task, training):
    training = averaging(replace(training, checkpoint_every_steps=1))
    reports = run(make_task(training), training)
    states = [report.state for report in reports if report.state is not None]
    began = next(number for number, state in enumerate(states) if state["averaged_steps"] == 1)
    name = "backbone.layers.0.weight_hh_l0"
    means = part(states[-1], AVERAGE)
    weights = torch.stack([state[f"{MODEL}{name}"] for state in states[began:] if state["averaged_steps"]])
    # A state comes at each step but an epoch's last one, and at the epoch's end.
    assert len(weights) == states[-1]["averaged_steps"]
    assert_close(means[name], weights.mean(0))
    assert torch.equal(final_weights(states[-1])[name], means[name])
    task = make_task(training)
    task.model.load_state_dict(final_weights(states[-1]))
    task.model.eval()
    assert task.validate()["loss"] == pytest.approx(epoch_losses(reports)[-1], abs=1e-9)


@pytest.mark.parametrize("stop", [14, 28, 35, 40])
@pytest.mark.parametrize("recipe", ["averaging", "unfreezing", "keep-best"])
def test_a_recipe_resumed_from_a_checkpoint_gives_the_same_bits(make_task, training, tmp_path: Path, stop, recipe):
    if recipe == "averaging":
        training = averaging(training)
    elif recipe == "unfreezing":
        training = replace(training, num_epochs=5, unfreeze=(1, 2, 3, 0), discriminative_decay=2.6)
    else:
        training = replace(training, num_epochs=5, keep_best=True, patience=4, learning_rate=0.1)
    whole = run(make_task(training), training)
    state = next(report.state for report in whole if report.step >= stop and report.state)
    save_tensors(state, tmp_path / "state.safetensors")
    rest = run(make_task(training, model_seed=99), training, load_tensors(tmp_path / "state.safetensors"))
    found, expected = rest[-1].state, whole[-1].state
    assert set(found) == set(expected)
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_accumulation_gives_the_losses_and_weights_of_whole_batches(make_task, training, pieces: int):
    whole = run(make_task(training), training)
    cut = replace(training, accumulation_steps=pieces)
    parts = run(make_task(cut), cut)
    for found, expected in zip(parts, whole, strict=True):
        assert found.metrics == pytest.approx(expected.metrics, rel=1e-4)
    found, expected = parts[-1].state, whole[-1].state
    for name in part(expected, MODEL):
        assert_close(found[MODEL + name], expected[MODEL + name], rtol=1e-3, atol=1e-4)
    assert found["carry.0.h"].shape == expected["carry.0.h"].shape


def test_more_pieces_than_rows_are_refused(make_task, training):
    with pytest.raises(ValueError, match="accumulation-steps 5: a worker has 4 rows"):
        make_task(replace(training, accumulation_steps=5))


def test_float16_scales_the_loss_and_leaves_out_a_step_that_overflows(make_task, training, monkeypatch):
    # CPUs have no LSTM in float16: everything but the number format is tested.
    monkeypatch.setattr("ulmfit_ray.training.tasks.language_model.autocast", lambda *_: nullcontext())
    training = replace(training, num_epochs=1, checkpoint_every_steps=1)
    exact = run(make_task(training), training)
    scaled = run(make_task(training, precision="float16"), training)
    assert scaled[-1].metrics["loss"] == pytest.approx(exact[-1].metrics["loss"], rel=1e-4)
    state = next(report.state for report in scaled if report.state)
    assert state["scaler.scale"] == 65536
    # With such a scale the gradient overflows: the weights stay as they are, and the scale is halved.
    state["scaler.scale"] = torch.tensor(2.0**127)
    task = make_task(training, precision="float16")
    report = next(report for report in train(task, training, start=state) if report.state)
    assert report.state["scaler.scale"] == 2.0**126
    assert all(torch.equal(report.state[MODEL + name], value) for name, value in part(state, MODEL).items())


def test_a_sampled_softmax_learns_and_is_validated_with_all_words(make_task, training):
    training = replace(training, num_epochs=12, schedule="constant", learning_rate=0.1, checkpoint_every_steps=1)
    sampled = replace(training, sampled_softmax=8)
    reports = run(make_task(sampled), sampled)
    assert epoch_losses(reports) != epoch_losses(run(make_task(training), training))
    assert epoch_losses(reports)[-1] < epoch_losses(reports)[0] - 0.5
    task = make_task(training)
    task.model.load_state_dict(final_weights(reports[-1].state))
    task.model.eval()
    assert task.validate()["loss"] == pytest.approx(epoch_losses(reports)[-1], abs=1e-9)


def test_the_best_weights_are_no_part_of_a_state_unless_asked_for(make_task, training):
    state = run(make_task(training), training)[-1].state
    assert not part(state, BEST)
    assert not part(state, AVERAGE)
