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
from ulmfit_ray.training import loop
from ulmfit_ray.training.averaging import WeightAverage
from ulmfit_ray.training.config import LanguageModelTraining, RetrieverTraining, TrainingConfig
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


def rows(reports: list[Report]) -> list[Report]:
    """Return what the log gets of an epoch's steps: no states alone, and no epochs."""
    return [report for report in reports if report.metrics and not report.is_epoch_end]


def losses(reports: list[Report]) -> list[float]:
    return [report.metrics["loss"] for report in rows(reports)]


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


class Clock:
    """Each look at it is half a minute later."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 30
        return self.seconds


def test_states_come_by_the_clock_too_and_change_neither_weights_nor_rows(make_task, training, monkeypatch):
    training = replace(training, num_epochs=3, checkpoint_every_steps=100, report_every_steps=4)
    expected = run(make_task(training), training)
    assert [report.step for report in expected if report.state] == [30]
    monkeypatch.setattr(loop, "monotonic", Clock())
    found = run(make_task(training), replace(training, checkpoint_every_minutes=2.0))
    # Every fourth look is two minutes later; half a minute is enough for an epoch's end.
    assert [(report.step, report.is_epoch_end) for report in found if report.state] == [
        *[(4, False), (8, False), (10, True), (14, False), (18, False), (20, True)],
        *[(24, False), (28, False), (30, True)],
    ]
    assert [(row.step, row.metrics) for row in rows(found)] == [
        (row.step, pytest.approx(row.metrics, rel=1e-12)) for row in rows(expected)
    ]
    assert_equal_states(found[-1].state, expected[-1].state)


def test_a_state_between_two_reports_knows_what_the_second_one_has_to_say(make_task, training):
    training = replace(training, report_every_steps=10)
    whole = run(make_task(training), training)
    (state,) = (report.state for report in whole if report.step == 7 and report.state)
    rest = run(make_task(training), training, state)
    assert (rows(rest)[0].step, rows(rest)[0].metrics["tokens"]) == (10, 8 * 20 + 4)
    assert [row.metrics for row in rows(rest)] == [row.metrics for row in rows(whole)[1:]]


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


@pytest.mark.parametrize("due", ["report_every_steps", "checkpoint_every_steps"])
def test_a_loss_that_is_not_a_number_ends_the_run_when_anything_is_due_and_its_step_is_named(make_task, training, due):
    training = replace(training, **{"report_every_steps": 100, "checkpoint_every_steps": 100, due: 4})
    task = make_task(training, task_class=task_that_spoils(step=2, losses=True))
    reports = train(task, training)
    assert next(reports).step == 1
    with pytest.raises(NotFiniteError, match=r"the loss is nan at step 3: lower --training\.learning-rate"):
        next(reports)


@pytest.mark.parametrize("step", [7, 10, 20])
def test_no_state_holds_weights_that_its_last_step_has_spoilt_while_the_loss_was_finite(make_task, training, step):
    task = make_task(training, task_class=task_that_spoils(step=step - 1, losses=False))
    steps = []
    reports = (steps.append(report.step) for report in train(task, training) if report.state)
    with pytest.raises(NotFiniteError, match=f"the weights are not finite at step {step}"):
        list(reports)
    assert steps == [before for before in (7, 10, 14) if before < step]
    assert not all(value.isfinite().all() for value in task.model.state_dict().values())


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
    judged = [report.metrics["loss"] for report in with_it if report.is_epoch_end]
    for name, sign in (("losses", 1), ("scores", -1)):
        assert with_it[-1].state.pop(name).tolist() == [sign * loss for loss in judged]
        assert without[-1].state.pop(name).tolist() == []
    assert_equal_states(with_it[-1].state, without[-1].state)
    assert [report.metrics for report in without if report.is_epoch_end] == [{}, {}]


def test_validation_may_come_after_every_few_epochs_and_comes_after_the_last(make_task, training):
    often = replace(training, num_epochs=5)
    seldom = replace(often, validate_every_epochs=2)
    all_of_them, some = (figures(run(make_task(config), config)) for config in (often, seldom))
    expected, epoch = [], 0
    for step, is_epoch_end, found in all_of_them:
        epoch += is_epoch_end
        expected.append((step, is_epoch_end, {} if is_epoch_end and epoch in (1, 3) else found))
    assert epoch == 5
    assert some == expected
    with pytest.raises(ValueError, match="validate_every_epochs must be 1 with keep-best"):
        replace(seldom, keep_best=True)


def task_that_spoils(step: int, losses: bool) -> type[LanguageModelTask]:
    """Return a task in whose step the loss, or the gradient of a finite loss, is not a number."""

    class SpoilingTask(LanguageModelTask):
        def loss(self, model, batch, carry, at):
            total, carry, figures = super().loss(model, batch, carry, at)
            if at == step and losses:
                figures = figures | {"loss": figures["loss"] * torch.nan}
            elif at == step:
                # Its value is 0, its derivative infinite.
                total = total + torch.sqrt(0 * self.model.decoder_bias.square().sum())
            return total, carry, figures

    return SpoilingTask


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


def test_no_time_between_checkpoints_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"training\.checkpoint_every_minutes must be over 0, not 0"):
        LanguageModelTraining(checkpoint_every_minutes=0)


@pytest.mark.parametrize("name", ["num_epochs", "global_batch_size", "checkpoint_every_steps", "report_every_steps"])
def test_a_count_below_one_is_refused_by_its_name(name: str):
    with pytest.raises(ValueError, match=rf"training\.{name} must be at least 1, not 0"):
        RetrieverTraining(**{name: 0})
