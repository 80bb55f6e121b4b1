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

from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.distributed import answer_of_first_worker, data_parallel, sum_over_workers
from ulmfit_ray.training.optimizer import make_optimizer, set_rates, update_weights
from ulmfit_ray.training.state import SUMS, State, collect, has_finite_weights, part, restore
from ulmfit_ray.training.task import Figures, Task

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
    is_stopped: bool = False
    """Somebody asked the run to stop: this is its last report, with a state."""
    state: State | None = None
    """It shares the memory of the model and the optimizer: the next step changes it."""

    @property
    def is_last(self) -> bool:
        """Tell whether training is over with this report."""
        return self.is_epoch_end and self.step == self.num_steps


class NotFiniteError(ArithmeticError):
    """The loss or a weight is NaN or infinite: running it again would give the same."""


class _Answer(IntEnum):
    """What rank 0 says when it is asked after a step."""

    GO_ON = 0
    SAVE = 1
    STOP = 2


def train(
    task: Task, config: TrainingConfig, *, start: State | None = None, should_stop: Callable[[], bool] | None = None
) -> Iterator[Report]:
    """Train and yield a report every few steps, at checkpoints, and at each epoch's end (all ranks alike).

    `start` is the state of an earlier report; training goes on with the very next batch. `should_stop` is asked on
    rank 0 after a step; if it says yes, all ranks yield a last report with a state, and end.

    Raises:
        NotFiniteError: the loss or a weight is not a finite number (on all ranks at the same step).
    """
    run = _Run(task, config, start, should_stop or (lambda: False))
    for epoch in range(run.step // task.steps_per_epoch, config.num_epochs):
        for report in run.epoch(epoch):
            yield report
            if report.is_stopped:
                return


class _Run:
    """One training run: how far it is, and what an epoch, a step and a report do."""

    def __init__(
        self, task: Task, config: TrainingConfig, start: State | None, should_stop: Callable[[], bool]
    ) -> None:
        self.task, self.config = task, config
        self._should_stop = should_stop
        self.num_steps = config.num_epochs * task.steps_per_epoch
        self.optimizer = make_optimizer(task.layer_groups(), config)
        self.step, self.carry = restore(start, task, self.optimizer) if start else (0, task.initial_carry())
        self._sums = {name: float(value) for name, value in part(start or {}, SUMS).items()}
        self._state_step, self._state_seconds = self.step, monotonic()
        self._model = data_parallel(task.model)
        self._recent: list[Figures] = []

    def epoch(self, epoch: int) -> Iterator[Report]:
        """Train from where the run stands to the epoch's end, then validate."""
        first_step = self.step - epoch * self.task.steps_per_epoch
        if first_step == 0:
            self.carry = self.task.initial_carry()
        for batch in self.task.batches(epoch, first_step):
            rate = self._take_step(batch)
            ends_epoch = self.step == (epoch + 1) * self.task.steps_per_epoch
            # The very first step too: where a step takes seconds, twenty would be minutes of silence.
            is_row_due = self.step == 1 or ends_epoch or self.step % self.config.report_every_steps == 0
            metrics = self._means() | {"learning_rate": rate} if is_row_due else {}
            # No state at an epoch's last step: a run resumed from it would skip the validation of that epoch.
            answer = _Answer.GO_ON if ends_epoch else self._answer()
            is_state_due = answer or (self.step % self.config.checkpoint_every_steps == 0 and not ends_epoch)
            if is_row_due or is_state_due:
                stops = answer == _Answer.STOP
                state = self._state() if is_state_due else None
                yield Report(self.step, self.num_steps, epoch, metrics, is_stopped=stops, state=state)
        yield self._epoch_end(epoch)

    def _epoch_end(self, epoch: int) -> Report:
        self.task.model.eval()
        figures = self.task.validate()
        # Not after every short epoch: a checkpoint is three times as large as the model.
        is_due = self.step - self._state_step >= max(1, self.config.checkpoint_every_steps // 4)
        is_last = self.step == self.num_steps
        answer = _Answer.GO_ON if is_last else self._answer(patience=0.25)
        state = self._state() if is_due or is_last or answer else None
        stops = answer == _Answer.STOP
        return Report(self.step, self.num_steps, epoch, figures, is_epoch_end=True, is_stopped=stops, state=state)

    def _take_step(self, batch: Any) -> float:
        """Change the weights by one batch; return the learning rate."""
        self.task.model.train()
        rate = set_rates(self.optimizer, self.config, self.step, self.num_steps)
        loss, self.carry, figures = self.task.loss(self._model, batch, self.carry, self.step)
        loss.backward()
        update_weights(self.optimizer, self.task.model.parameters(), self.config)
        self.step += 1
        self._recent.append(figures)
        return rate

    def _answer(self, patience: float = 1.0) -> _Answer:
        """Ask rank 0 whether to stop, or to save by its clock after `patience` of the time between checkpoints.

        All ranks alike. On a GPU not at every step: the answer makes the host wait.
        """
        if self.task.device.type != "cpu" and self.step % STEPS_PER_QUESTION_ON_GPU:
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
        state = collect(self.task, self.optimizer, self.carry, self.step, self._sums)
        if not has_finite_weights(state):
            raise _not_finite("the weights are not finite", self.step)
        self._state_step, self._state_seconds = self.step, monotonic()
        return state

    def _means(self) -> dict[str, float]:
        """Return the figures of the steps since the last report, over all workers (all ranks)."""
        self._add_recent()
        tokens = self._sums.pop("tokens")
        means = {name: total / tokens for name, total in self._sums.items()} | {"tokens": tokens}
        self._sums = {}
        return means

    def _add_recent(self) -> None:
        """Add the figures of the latest steps, over all workers, to the sums (all ranks)."""
        if not self._recent:
            return
        names = [name for name in self._recent[0] if name != "tokens"]
        sums = {name: math.fsum(float(row[name]) * row["tokens"] for row in self._recent) for name in names}
        sums["tokens"] = sum(row["tokens"] for row in self._recent)
        totals = dict(zip(sums, sum_over_workers([*sums.values()], self.task.device), strict=True))
        if not math.isfinite(totals["loss"]):
            # A worker whose own rows are fine learns from the others which step it was.
            flags = [0.0 if math.isfinite(row["loss"]) else 1.0 for row in self._recent]
            broken = sum_over_workers(flags, self.task.device)
            first = next(number for number, count in enumerate(broken) if count)
            raise _not_finite(f"the loss is {totals['loss']}", self.step - len(self._recent) + 1 + first)
        self._sums = {name: self._sums.get(name, 0.0) + total for name, total in totals.items()}
        self._recent = []


def _not_finite(what: str, step: int) -> NotFiniteError:
    return NotFiniteError(f"{what} at step {step}: lower --training.learning-rate")
