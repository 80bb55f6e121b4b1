from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.files import load_tensors, save_tensors
from ulmfit_ray.training.averaging import WeightAverage
from ulmfit_ray.training.config import RetrieverTraining, TrainingConfig
from ulmfit_ray.training.judge import Judge
from ulmfit_ray.training.loop import NotFiniteError, Report, train
from ulmfit_ray.training.optimizer import load_optimizer, make_optimizer
from ulmfit_ray.training.schedules import one_cycle
from ulmfit_ray.training.state import OPTIMIZER, RunState, State, collect, part, restore
from ulmfit_ray.training.tasks.language_model import LanguageModelTask


def run(task: LanguageModelTask, training: TrainingConfig, start: State | None = None) -> list[Report]:
    """Train to the end; states are copied, because the loop's own go on changing."""
    reports = []
    for report in train(task, training, start=start):
        state = report.state and {name: value.detach().clone() for name, value in report.state.items()}
        reports.append(replace(report, state=state))
    return reports


def figures(reports: list[Report], after: int = 0) -> list[tuple[int, bool, dict[str, float]]]:
    return [(report.step, report.is_epoch_end, report.metrics) for report in reports if report.step > after]


def losses(reports: list[Report]) -> list[float]:
    return [report.metrics["loss"] for report in reports if not report.is_epoch_end]


def assert_equal_states(found: State, expected: State) -> None:
    assert set(found) == set(expected)
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


@pytest.mark.parametrize("report_every", [1, 3])
@pytest.mark.parametrize("stop", [7, 10, 14])
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_run_resumed_from_a_checkpoint_gives_the_same_bits_as_one_that_never_stopped(
    make_task, training, tmp_path: Path, report_every: int, stop: int, on_disk: bool
):
    training = replace(training, report_every_steps=report_every)
    whole = run(make_task(training), training)
    (state,) = (report.state for report in whole if report.step == stop and report.state)
    if on_disk:
        save_tensors(state, tmp_path / "state.safetensors")
        state = load_tensors(tmp_path / "state.safetensors")
    rest = run(make_task(training, model_seed=99), training, state)
    assert figures(rest) == figures(whole, after=stop)
    assert len(figures(rest)) > 1
    assert_equal_states(rest[-1].state, whole[-1].state)


def test_a_state_holds_model_optimizer_hidden_state_and_step(make_task, training):
    (state,) = (report.state for report in run(make_task(training), training) if report.step == 7 and report.state)
    task = make_task(training)
    parameters = dict(task.model.named_parameters())
    assert {name for name in state if name.startswith("model.")} == {f"model.{name}" for name in parameters}
    kinds = ("step", "exp_avg", "exp_avg_sq")
    expected = {f"optimizer.{name}.{kind}" for name in parameters for kind in kinds}
    assert {name for name in state if name.startswith("optimizer.")} == expected
    assert {name for name in state if name.startswith("carry.")} == {
        f"carry.{layer}.{kind}" for layer in (0, 1) for kind in "hc"
    }
    assert state["carry.0.h"].shape == (1, 4, 12)
    assert state["step"] == 7


def test_a_finished_state_leaves_nothing_to_do(make_task, training):
    last = run(make_task(training), training)[-1]
    assert (last.step, last.num_steps, last.is_epoch_end) == (20, 20, True)
    assert run(make_task(training), training, last.state) == []


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_restore_puts_all_optimizer_state_where_the_parameters_are(make_task, training):
    state = run(make_task(training), training)[-1].state
    model = make_task(training).model.to("meta")
    optimizer = torch.optim.AdamW(model.parameters())
    load_optimizer(optimizer, model, part(state, OPTIMIZER))
    devices = {value.device.type for values in optimizer.state.values() for value in values.values()}
    assert len(optimizer.state) == len(list(model.parameters()))
    assert devices == {"meta"}


def test_restore_and_collect_are_inverse_and_share_no_memory(make_task, training):
    state = run(make_task(training), training)[-1].state
    task = make_task(training, model_seed=5)
    optimizer = make_optimizer(task.layer_groups(), training)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    fresh = RunState(task, optimizer, Judge(training), WeightAverage(task.model), scaler, task.initial_carry())
    restore(state, fresh)
    assert fresh.step == 20
    assert_equal_states(collect(fresh), state)
    places = {value.data_ptr() for name, value in state.items() if not name.startswith("carry.")}
    now = {value.data_ptr() for values in optimizer.state.values() for value in values.values()}
    assert not places & (now | {parameter.data_ptr() for parameter in task.model.parameters()})


def test_states_come_at_checkpoints_and_at_epoch_ends_unless_one_is_fresh(make_task, training):
    training = replace(training, num_epochs=3, checkpoint_every_steps=8, report_every_steps=100)
    reports = run(make_task(training), training)
    kept = [(report.step, report.is_epoch_end) for report in reports if report.state]
    # 10 is two steps after 8: a quarter of eight. 20 is four after 16.
    assert kept == [(8, False), (10, True), (16, False), (20, True), (24, False), (30, True)]
    training = replace(training, checkpoint_every_steps=19)
    kept = [report.step for report in run(make_task(training), training) if report.state]
    # 20 is one step after 19: less than a quarter of it. The last step is always kept.
    assert kept == [10, 19, 30]


def test_reports_come_at_the_first_step_every_few_steps_and_at_each_epochs_end(make_task, training):
    training = replace(training, checkpoint_every_steps=100, report_every_steps=4)
    reports = run(make_task(training), training)
    assert [(report.step, report.epoch, report.is_epoch_end) for report in reports] == [
        (1, 0, False),
        (4, 0, False),
        (8, 0, False),
        (10, 0, False),
        (10, 0, True),
        (12, 1, False),
        (16, 1, False),
        (20, 1, False),
        (20, 1, True),
    ]
    each = losses(run(make_task(training), replace(training, report_every_steps=1)))
    assert losses(reports)[0] == each[0]
    assert losses(reports)[1] == pytest.approx(np.mean(each[1:4]))
    # The last window of an epoch is shorter, and each token counts as much as any other.
    assert losses(reports)[3] == pytest.approx(np.average(each[8:10], weights=[20, 4]))
    assert [report.metrics["tokens"] for report in reports if not report.is_epoch_end] == [20, 60, 80, 24, 40, 80, 64]


def test_the_loss_goes_down_where_every_token_follows_from_the_one_before(make_task, training):
    training = replace(training, num_epochs=10, global_batch_size=16, learning_rate=2e-2)
    shape = Architecture(vocab_size=20, embedding_dim=16, num_layers=1).without_dropout()
    reports = run(make_task(training, shape=shape), training)
    assert losses(reports)[0] == pytest.approx(np.log(20), abs=0.05)
    assert losses(reports)[-1] < 0.4
    assert reports[-1].metrics["loss"] < 0.4
    assert reports[-1].metrics["accuracy"] > 0.95


def test_a_loss_that_is_not_a_number_ends_the_run_at_the_next_report(make_task, training):
    training = replace(training, report_every_steps=3)
    task = make_task(training)
    reports = train(task, training)
    assert next(reports).step == 1
    with torch.no_grad():
        task.model.decoder_bias[3] = torch.nan
    with pytest.raises(NotFiniteError, match=r"nan at step 3: lower --training\.learning-rate"):
        next(reports)


def test_no_state_is_yielded_once_the_loss_is_not_a_number(make_task, training):
    training = replace(training, checkpoint_every_steps=3, report_every_steps=100)
    task = make_task(training)
    reports = train(task, training)
    assert next(reports).step == 1
    with torch.no_grad():
        task.model.decoder_bias[3] = torch.nan
    with pytest.raises(NotFiniteError, match="at step 3"):
        next(reports)


def test_the_rate_follows_the_schedule_over_all_epochs(make_task, training):
    reports = run(make_task(training), training)
    rates = [report.metrics["learning_rate"] for report in reports if not report.is_epoch_end]
    assert rates == pytest.approx([1e-2 * one_cycle(step, 20)[0] for step in range(20)])


def test_the_gradient_is_clipped_to_its_largest_norm(make_task, training):
    training = replace(training, gradient_clip=1e-3, checkpoint_every_steps=1)
    state = run(make_task(training), training)[0].state
    # After one step AdamW's mean of gradients is (1 - beta1) times the gradient; one-cycle starts with beta1 = 0.8.
    moments = [value.flatten() for name, value in state.items() if name.endswith(".exp_avg")]
    assert torch.cat(moments).norm().item() == pytest.approx(0.2 * 1e-3, rel=1e-3)


def test_weight_decay_acts_on_matrices_only(make_task, training):
    task = make_task(training)
    optimizer = make_optimizer(task.layer_groups(), replace(training, weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    by_name = {name: decays[id(parameter)] for name, parameter in task.model.named_parameters()}
    assert {name for name, decay in by_name.items() if decay == 0} == {
        "decoder_bias",
        *(f"backbone.layers.{layer}.bias_{kind}_l0" for layer in (0, 1) for kind in ("ih", "hh")),
    }
    assert {decay for decay in by_name.values() if decay} == {0.3}


def test_validation_changes_nothing_of_the_training(make_task, training):
    with_it = run(make_task(training), training)
    without = run(make_task(training, with_validation=False), training)
    assert losses(with_it) == losses(without)
    judged = with_it[-1].state.pop("losses")
    assert judged.tolist() == [report.metrics["loss"] for report in with_it if report.is_epoch_end]
    assert without[-1].state.pop("losses").tolist() == []
    assert_equal_states(with_it[-1].state, without[-1].state)
    assert [report.metrics for report in without if report.is_epoch_end] == [{}, {}]


class RecordingTask(LanguageModelTask):
    """Keeps what each step is handed: the largest entry of the hidden state, and the model's mode."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.largest: list[float] = []
        self.modes: list[tuple[bool, bool]] = []

    def loss(self, model, batch, carry, step):
        self.largest.append(max(float(value.abs().max()) for pair in carry for value in pair))
        self.modes.append((self.model.training, True))
        return super().loss(model, batch, carry, step)

    def validate(self) -> dict[str, float]:
        self.modes.append((self.model.training, False))
        return super().validate()


def test_hidden_state_is_carried_inside_an_epoch_and_zero_at_its_start(make_task, training):
    task = make_task(training, task_class=RecordingTask)
    run(task, training)
    assert [step for step, largest in enumerate(task.largest) if largest == 0] == [0, 10]


def test_the_model_is_in_training_mode_in_steps_and_in_no_other_place(make_task, training):
    task = make_task(training, task_class=RecordingTask)
    run(task, training)
    assert len(task.modes) == 22
    assert all(mode == in_a_step for mode, in_a_step in task.modes)


class ForgetfulTask(LanguageModelTask):
    """Breaks the promise that a resumed run goes on with the very next batch."""

    def batches(self, epoch: int, first_step: int) -> Iterator[Tensor]:
        return super().batches(epoch, 0)


def test_the_resume_test_would_notice_a_stream_that_starts_over(make_task, training):
    whole = run(make_task(training), training)
    (state,) = (report.state for report in whole if report.step == 7 and report.state)
    rest = run(make_task(training, task_class=ForgetfulTask), training, state)
    assert figures(rest)[0] != figures(whole, after=7)[0]


@pytest.mark.parametrize("name", ["num_epochs", "global_batch_size", "checkpoint_every_steps", "report_every_steps"])
def test_a_count_below_one_is_refused_by_its_name(name: str):
    with pytest.raises(ValueError, match=rf"training\.{name} must be at least 1, not 0"):
        RetrieverTraining(**{name: 0})
