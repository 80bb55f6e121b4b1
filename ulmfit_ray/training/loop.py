"""The training loop, the same for every task. It only yields reports; the caller shows and stores them.

A task has its model, its batches and its loss. The loop has the epochs and steps, and decides when to report and when
to collect a state for a checkpoint; optimizer.py changes the weights, state.py lists what a checkpoint holds.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ulmfit_ray.training.averaging import WeightAverage
from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.distributed import (
    data_parallel,
    flag_of_first_worker,
    gradients_kept_apart,
    sum_over_workers,
)
from ulmfit_ray.training.judge import Judge
from ulmfit_ray.training.optimizer import freeze, make_optimizer, set_rates, update_weights
from ulmfit_ray.training.schedules import ScheduleFunction, Stage, gradual_unfreezing
from ulmfit_ray.training.state import RunState, State, collect, restore
from ulmfit_ray.training.task import Figures, Task

STEPS_PER_QUESTION_ON_GPU = 10


@dataclass(slots=True)
class Report:
    """What the loop yields: the figures of some steps or of an epoch, and a state when one is due."""

    step: int
    num_steps: int
    epoch: int
    metrics: dict[str, float]
    is_epoch_end: bool = False
    is_last: bool = False
    """Training is over with this report."""
    is_stopped: bool = False
    """Somebody asked the run to stop: this is its last report, with a state."""
    state: State | None = None


class NotFiniteError(ArithmeticError):
    """The loss is NaN or infinite: running it again would give the same."""


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
        NotFiniteError: the loss is not a finite number (on all ranks at the same step).
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
        self._stages = gradual_unfreezing(config, len(self._groups))
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
        self.last_state = self.now.step
        self._stage: Stage | None = None
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
            # No state at an epoch's last step: a run resumed from it would skip the validation of that epoch.
            ends_epoch = step == (epoch + 1) * self.task.steps_per_epoch
            stops = not ends_epoch and self._is_stopped()
            wants_state = stops or (step % self.config.checkpoint_every_steps == 0 and not ends_epoch)
            # The very first step too: where a step takes seconds, twenty would be minutes of silence.
            if step == 1 or wants_state or ends_epoch or step % self.config.report_every_steps == 0:
                metrics = self._means() | {"learning_rate": rate}
                state = self._state() if wants_state else None
                yield Report(step, self.num_steps, epoch, metrics, is_stopped=stops, state=state)
        yield self._end_of_epoch(epoch)

    def _enter_stage_of(self, epoch: int) -> None:
        """Unfreeze the layer groups that are trained in this epoch."""
        stage = next(stage for stage in reversed(self._stages) if epoch >= stage.first_epoch)
        if stage != self._stage:
            self._stage = stage
            freeze(self._groups, stage.num_groups)
            # The parallel wrapper exchanges the gradients of the parameters that had one when it was made.
            self._model = data_parallel(self.task.model)

    def _end_of_epoch(self, epoch: int) -> Report:
        """Validate, and say what that changes."""
        self.task.model.eval()
        with self.now.average.in_place():
            figures = self.task.validate()
            self.now.judge.add(figures, self.task.model)
        # Not after every short epoch: a checkpoint is three times as large as the model, and all workers wait for it.
        is_due = self.now.step - self.last_state >= max(1, self.config.checkpoint_every_steps // 4)
        is_last = self.now.step == self.num_steps or self.now.judge.is_over
        stops = not is_last and self._is_stopped()
        state = self._state() if is_due or is_last or stops else None
        return Report(
            self.now.step,
            self.num_steps,
            epoch,
            figures,
            is_epoch_end=True,
            is_last=is_last,
            is_stopped=stops,
            state=state,
        )

    def _take_step(self, batch: list[Any]) -> float:
        """Change the weights by one batch; return the learning rate."""
        assert self._stage is not None
        self.task.model.train()
        first = self._stage.first_epoch * self.task.steps_per_epoch
        steps = self._stage.num_epochs * self.task.steps_per_epoch
        factor = self.task.rate_factor(batch)
        rate = set_rates(self.now.optimizer, self.config, self.now.step - first, steps, factor, self._schedule)
        for number, piece in enumerate(batch):
            with gradients_kept_apart(self._model, number < len(batch) - 1):
                loss, self.now.carry[number], figures = self.task.loss(
                    self._model, piece, self.now.carry[number], self.now.step
                )
                self.now.scaler.scale(loss).backward()
            self._recent.append(figures)
        update_weights(self.now.optimizer, self.task.model.parameters(), self.config, self.now.scaler)
        if self.now.judge.wants_average:
            self.now.average.update()
        self.now.step += 1
        return rate

    def _is_stopped(self) -> bool:
        """Ask rank 0 whether to stop, all ranks alike. On a GPU not at every step: the answer makes the host wait."""
        if self.task.device.type != "cpu" and self.now.step % STEPS_PER_QUESTION_ON_GPU:
            return False
        return flag_of_first_worker(self._should_stop, self.task.device)

    def _state(self) -> State:
        self.last_state = self.now.step
        return collect(self.now)

    def _means(self) -> dict[str, float]:
        """Return the figures of the steps since the last report, over all workers (all ranks)."""
        names = [name for name in self._recent[0] if name != "tokens"]
        sums = [math.fsum(float(figures[name]) * figures["tokens"] for figures in self._recent) for name in names]
        count = sum(figures["tokens"] for figures in self._recent)
        *totals, tokens = sum_over_workers([*sums, count], self.task.device)
        self._recent = []
        means = {name: total / tokens for name, total in zip(names, totals, strict=True)} | {"tokens": tokens}
        if not math.isfinite(means["loss"]):
            raise NotFiniteError(f"the loss is {means['loss']} at step {self.now.step}: lower --training.learning-rate")
        return means
