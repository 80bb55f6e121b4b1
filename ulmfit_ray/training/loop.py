"""The training loop, the same for every task. It only yields reports; the caller shows and stores them.

A task has its model, its batches and its loss. The loop has the epochs and steps, and decides when to report and when
to collect a state for a checkpoint; optimizer.py changes the weights, state.py lists what a checkpoint holds. When
checkpoints are made, and how often a run is stopped and gone on with, changes neither weights nor reports.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from time import monotonic
from typing import Any

import torch

from ulmfit_ray.training.averaging import WeightAverage
from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.distributed import (
    answer_of_first_worker,
    data_parallel,
    gradients_kept_apart,
    sum_over_workers,
)
from ulmfit_ray.training.judge import Judge
from ulmfit_ray.training.optimizer import freeze, make_optimizer, set_rates, update_weights
from ulmfit_ray.training.schedules import ScheduleFunction
from ulmfit_ray.training.stages import Stage, stages_of
from ulmfit_ray.training.state import RunState, State, collect, has_finite_weights, restore
from ulmfit_ray.training.task import COUNTS, Figures, Task, weight_in

STEPS_PER_QUESTION_ON_GPU = 10


@dataclass(slots=True)
class Report:
    """What the loop yields: the figures of some steps or of an epoch, or a state, or both."""

    step: int
    num_steps: int
    epoch: int
    metrics: dict[str, float]
    """Empty if there is only a state: the rows of the log must not depend on when a checkpoint was made."""
    is_epoch_end: bool = False
    is_last: bool = False
    """Training is over with this report."""
    is_stopped: bool = False
    """Somebody asked the run to stop: this is its last report, with a state."""
    state: State | None = None
    """It shares the memory of the model and the optimizer: the next step changes it."""


class NotFiniteError(ArithmeticError):
    """The loss or a weight is NaN or infinite: running it again would give the same."""


class _Answer(IntEnum):
    """What rank 0 says when it is asked after a step."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


def train(
    task: Task,
    config: TrainingConfig,
    *,
    start: State | None = None,
    should_stop: Callable[[], bool] | None = None,
    schedule: ScheduleFunction | None = None,
) -> Iterator[Report]:
    """Train and yield a report every few steps, at checkpoints, and at each epoch's end (all ranks alike).

    `start` is the state of an earlier report; training goes on with the very next batch. `should_stop` is asked on
    rank 0 after a step; if it says yes, all ranks yield a last report with a state, and end. `schedule` is another one
    than the config names.

    Raises:
        NotFiniteError: the loss or a weight is not a finite number (on all ranks at the same step).
    """
    run = _Run(task, config, start, should_stop or (lambda: False), schedule)
    for epoch in range(run.now.step // task.steps_per_epoch, config.num_epochs):
        for report in run.epoch(epoch):
            yield report
            if report.is_stopped or report.is_last:
                return


class _Run:
    """One training run: how far it is, and what an epoch, a step and a report do."""

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        start: State | None,
        should_stop: Callable[[], bool],
        schedule: ScheduleFunction | None,
    ) -> None:
        self.task, self.config = task, config
        self._should_stop, self._schedule = should_stop, schedule
        self.num_steps = config.num_epochs * task.steps_per_epoch
        self._groups = task.layer_groups()
        self._stages = stages_of(config, len(self._groups))
        self._stage: Stage | None = None
        self.now = RunState(
            task,
            make_optimizer(self._groups, config),
            Judge(config),
            WeightAverage(task.model),
            torch.amp.GradScaler(task.device.type, enabled=task.precision == "float16"),
            task.initial_carry(),
        )
        if start:
            restore(start, self.now)
        self._state_step, self._state_seconds = self.now.step, monotonic()
        self._recent: list[Figures] = []

    def epoch(self, epoch: int) -> Iterator[Report]:
        """Train from where the run stands to the epoch's end, then validate."""
        self._enter_stage_of(epoch)
        first_step = self.now.step - epoch * self.task.steps_per_epoch
        if first_step == 0:
            self.now.carry = self.task.initial_carry()
        for batch in self.task.batches(epoch, first_step):
            rate = self._take_step(batch)
            step = self.now.step
            ends_epoch = step == (epoch + 1) * self.task.steps_per_epoch
            # The very first step too: where a step takes seconds, twenty would be minutes of silence.
            is_row_due = step == 1 or ends_epoch or step % self.config.report_every_steps == 0
            metrics = self._means() | {"learning_rate": rate} if is_row_due else {}
            # No state at an epoch's last step: a run resumed from it would skip the validation of that epoch.
            answer = _Answer.GO_ON if ends_epoch else self._answer()
            is_state_due = answer or (step % self.config.checkpoint_every_steps == 0 and not ends_epoch)
            if is_row_due or is_state_due:
                stops = answer == _Answer.STOP
                state = self._state() if is_state_due else None
                yield Report(step, self.num_steps, epoch, metrics, is_stopped=stops, state=state)
        yield self._end_of_epoch(epoch)

    def _enter_stage_of(self, epoch: int) -> None:
        """Unfreeze the layer groups that are trained in this epoch, and begin a new stage with an empty optimizer."""
        stage = next(stage for stage in reversed(self._stages) if epoch >= stage.first_epoch)
        if stage != self._stage:
            self._stage = stage
            freeze(self._groups, stage.groups)
            if self.now.step == stage.first_epoch * self.task.steps_per_epoch:
                self.now.optimizer.state.clear()
            # The parallel wrapper exchanges the gradients of the parameters that had one when it was made.
            self._model = data_parallel(self.task.model)

    def _end_of_epoch(self, epoch: int) -> Report:
        """Validate if it is time to, and say what that changes."""
        figures: Figures = {}
        if (epoch + 1) % self.config.validate_every_epochs == 0 or self.now.step == self.num_steps:
            self.task.model.eval()
            with self.now.average.in_place():
                figures = self.task.validate()
                self.now.judge.add(figures, self.task.model)
        # Not after every short epoch: a checkpoint is three times as large as the model.
        is_due = self.now.step - self._state_step >= max(1, self.config.checkpoint_every_steps // 4)
        is_last = self.now.step == self.num_steps or self.now.judge.is_over(self._stages[-1].first_epoch)
        answer = _Answer.GO_ON if is_last else self._answer(patience=0.25)
        return Report(
            *(self.now.step, self.num_steps, epoch, figures),
            is_epoch_end=True,
            is_last=is_last,
            is_stopped=answer == _Answer.STOP,
            state=self._state() if is_due or is_last or answer else None,
        )

    def _take_step(self, batch: list[Any]) -> float:
        """Change the weights by one batch; return the learning rate."""
        assert self._stage is not None
        self.task.model.train()
        now = self.now
        first = self._stage.first_epoch * self.task.steps_per_epoch
        steps = self._stage.num_epochs * self.task.steps_per_epoch
        highest = self._stage.learning_rate * self.task.rate_factor(batch)
        rate = set_rates(now.optimizer, self.config, now.step - first, steps, highest=highest, schedule=self._schedule)
        for number, piece in enumerate(batch):
            with gradients_kept_apart(self._model, number < len(batch) - 1):
                loss, now.carry[number], figures = self.task.loss(self._model, piece, now.carry[number], now.step)
                now.scaler.scale(loss).backward()
            self._recent.append(figures)
        update_weights(now.optimizer, self.task.model.parameters(), self.config, now.scaler)
        if now.judge.wants_average:
            now.average.update()
        now.step += 1
        return rate

    def _answer(self, patience: float = 1.0) -> _Answer:
        """Ask rank 0 whether to stop, or to save by its clock after `patience` of the time between checkpoints.

        All ranks alike. On a GPU not at every step: the answer makes the host wait.
        """
        if self.task.device.type != "cpu" and self.now.step % STEPS_PER_QUESTION_ON_GPU:
            return _Answer.GO_ON

        def ask() -> _Answer:
            if self._should_stop():
                return _Answer.STOP
            is_time = monotonic() - self._state_seconds >= 60 * patience * self.config.checkpoint_every_minutes
            return _Answer.SAVE if is_time else _Answer.GO_ON

        return _Answer(answer_of_first_worker(ask, self.task.device))

    def _state(self) -> State:
        """Return the state (all ranks), and prove that it is worth keeping.

        The step just taken can spoil the weights while its own loss, which is older than they are, is still finite.
        """
        self._add_recent()
        state = collect(self.now)
        if not has_finite_weights(state):
            raise _not_finite("the weights are not finite", self.now.step)
        self._state_step, self._state_seconds = self.now.step, monotonic()
        return state

    def _means(self) -> dict[str, float]:
        """Return the figures of the steps since the last report, over all workers (all ranks)."""
        self._add_recent()
        counts = {name: self.now.sums.pop(name) for name in COUNTS if name in self.now.sums}
        means = {name: total / weight_in(counts) for name, total in self.now.sums.items()} | counts
        self.now.sums = {}
        return means

    def _add_recent(self) -> None:
        """Add the figures of the latest steps, over all workers, to the sums (all ranks)."""
        if not self._recent:
            return
        names = [name for name in self._recent[0] if name not in COUNTS]
        sums = {name: math.fsum(float(row[name]) * weight_in(row) for row in self._recent) for name in names}
        sums |= {name: sum(row[name] for row in self._recent) for name in COUNTS if name in self._recent[0]}
        totals = dict(zip(sums, sum_over_workers([*sums.values()], self.task.device), strict=True))
        if not math.isfinite(totals["loss"]):
            # A worker whose own rows are fine learns from the others which step it was.
            flags = [0.0 if math.isfinite(row["loss"]) else 1.0 for row in self._recent]
            broken = sum_over_workers(flags, self.task.device)
            first = next(number for number, count in enumerate(broken) if count)
            pieces = len(self._recent)
            raise _not_finite(f"the loss is {totals['loss']}", self.now.step - (pieces - 1 - first) // self._pieces())
        self.now.sums = {name: self.now.sums.get(name, 0.0) + total for name, total in totals.items()}
        self._recent = []

    def _pieces(self) -> int:
        """Return how many rows of figures a step makes."""
        return len(self.now.carry)


def _not_finite(what: str, step: int) -> NotFiniteError:
    return NotFiniteError(f"{what} at step {step}: lower --training.learning-rate")
