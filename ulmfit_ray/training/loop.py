"""The training loop: one for every task. The loop yields; the edge reports.

A task brings its model, its batches and its loss; the loop knows optimizer, schedule, clipping and checkpoints.
Batches, schedule and dropout masks are functions of the step, so that a checkpoint is the model, the optimizer,
the task's carried tensors and one number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ulmfit_ray.training.distributed import data_parallel, sum_over_workers
from ulmfit_ray.training.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How weights change; the global batch is the same for any number of workers."""

    num_epochs: int = 1
    """Passes over the training documents."""
    global_batch_size: int = 64
    """Rows of a batch over all workers."""
    learning_rate: float = 4e-3
    """Highest rate of the schedule."""
    schedule: Literal["one-cycle", "linear"] = "one-cycle"
    """one-cycle: fastai's; linear: 10 % warm-up, then down to 0."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on matrices only."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    adam_beta2: float = 0.99
    """AdamW's second beta; the first follows the schedule."""
    adam_eps: float = 1e-8
    """AdamW's epsilon. fastai's 1e-5 is for fine-tuning: a small model trained from scratch with it learns nothing."""
    checkpoint_every_steps: int = field(default=1000, metadata={"operational": True})
    """Steps between checkpoints; one at an epoch's end too, unless the last is less than a quarter of this ago."""
    report_every_steps: int = field(default=20, metadata={"operational": True})
    """Steps between two rows of the training log."""

    def __post_init__(self) -> None:
        for name in ("num_epochs", "global_batch_size", "checkpoint_every_steps", "report_every_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} must be at least 1, not {getattr(self, name)}")


class Task(Protocol):
    """What the loop needs to know of a task. `carry` is what one step hands to the next (an LM's hidden state)."""

    model: nn.Module
    device: torch.device
    steps_per_epoch: int

    def batches(self, epoch: int, first_step: int) -> Iterator[Any]:
        """Yield this worker's batches of an epoch, from a step on."""

    def initial_carry(self) -> Any:
        """Return the carry at an epoch's start."""

    def loss(self, model: nn.Module, batch: Any, carry: Any, step: int) -> tuple[Tensor, Any, dict[str, float]]:
        """Return the loss to differentiate, the new carry, and what to log; "tokens" are this worker's."""

    def carry_tensors(self, carry: Any) -> dict[str, Tensor]:
        """Return the carry of all workers as named tensors (all ranks)."""

    def carry_from(self, tensors: dict[str, Tensor]) -> Any:
        """Return this worker's part of what `carry_tensors` gave, for any number of workers."""

    def validate(self) -> dict[str, float]:
        """Return figures on the validation documents (all ranks); nothing of the training state changes."""


@dataclass(slots=True)
class Report:
    """What the loop yields: some steps' figures, an epoch's, or a state to be kept (or several of these)."""

    step: int
    num_steps: int
    epoch: int
    metrics: dict[str, float]
    is_epoch_end: bool = False
    state: dict[str, Tensor] | None = None


class NotFiniteError(ArithmeticError):
    """The loss is NaN or infinite: running it again would give the same."""


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW (fused) with weight decay on matrices only."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(0.9, config.adam_beta2), eps=config.adam_eps, fused=True
    )


def train(task: Task, config: TrainingConfig, *, start: dict[str, Tensor] | None = None) -> Iterator[Report]:
    """Train and yield a report every few steps, at checkpoints, and at each epoch's end (all ranks alike).

    `start` is the state of an earlier report; training goes on with the very next batch.

    Raises:
        NotFiniteError: the loss is not a finite number (on all ranks at the same step).
    """
    optimizer = make_optimizer(task.model, config)
    num_steps = config.num_epochs * task.steps_per_epoch
    step, carry = 0, task.initial_carry()
    if start is not None:
        step = restore(start, task.model, optimizer)
        carry = task.carry_from({name[6:]: value for name, value in start.items() if name.startswith("carry.")})
    last_state = step
    model = data_parallel(task.model)
    for epoch in range(step // task.steps_per_epoch, config.num_epochs):
        first_step = step - epoch * task.steps_per_epoch
        if first_step == 0:
            carry = task.initial_carry()
        recent: list[dict[str, Any]] = []
        for batch in task.batches(epoch, first_step):
            task.model.train()
            rate = _set_rates(optimizer, config, step, num_steps)
            loss, carry, figures = task.loss(model, batch, carry, step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), config.gradient_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            recent.append(figures)
            ends_epoch = step == (epoch + 1) * task.steps_per_epoch
            # A state at the very end of an epoch would lose its validation if the run died there.
            wants_state = step % config.checkpoint_every_steps == 0 and not ends_epoch
            if wants_state or ends_epoch or step % config.report_every_steps == 0:
                metrics = _means(recent, task.device) | {"learning_rate": rate}
                recent = []
                if not math.isfinite(metrics["loss"]):
                    raise NotFiniteError(
                        f"the loss is {metrics['loss']} at step {step}: lower --training.learning-rate"
                    )
                last_state = step if wants_state else last_state
                state = collect(task, optimizer, carry, step) if wants_state else None
                yield Report(step, num_steps, epoch, metrics, state=state)
        task.model.eval()
        # Not at the end of each of many short epochs: a checkpoint holds three times the model, and is a barrier.
        wants_state = step == num_steps or step - last_state >= max(1, config.checkpoint_every_steps // 4)
        last_state = step if wants_state else last_state
        state = collect(task, optimizer, carry, step) if wants_state else None
        yield Report(step, num_steps, epoch, task.validate(), is_epoch_end=True, state=state)


def _set_rates(optimizer: torch.optim.Optimizer, config: TrainingConfig, step: int, num_steps: int) -> float:
    """Set the schedule's learning rate and momentum for `step`; return the rate."""
    multiplier, beta1 = SCHEDULES[config.schedule](step, num_steps)
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * multiplier
        group["betas"] = (beta1, config.adam_beta2)
    return config.learning_rate * multiplier


def _means(figures: list[dict[str, Any]], device: torch.device) -> dict[str, float]:
    """Return the means over steps and workers; "tokens" is a sum over both (all ranks)."""
    names = list(figures[0])
    sums = [math.fsum(float(step[name]) for step in figures) for name in names]
    *totals, count = sum_over_workers([*sums, len(figures)], device)
    return {name: total if name == "tokens" else total / count for name, total in zip(names, totals, strict=True)}


def collect(task: Task, optimizer: torch.optim.Optimizer, carry: Any, step: int) -> dict[str, Tensor]:
    """Return all that a checkpoint must hold, as named tensors (all ranks)."""
    state = {"step": torch.tensor(step)}
    names: dict[Any, str] = {parameter: name for name, parameter in task.model.named_parameters()}
    state |= {f"model.{name}": value for name, value in task.model.state_dict().items()}
    for parameter, values in optimizer.state.items():
        state |= {f"optimizer.{names[parameter]}.{key}": value for key, value in values.items()}
    return state | {f"carry.{name}": value for name, value in task.carry_tensors(carry).items()}


def restore(state: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put a state from `collect` back into model and optimizer; return its step."""
    model.load_state_dict({name[6:]: value for name, value in state.items() if name.startswith("model.")})
    for name, parameter in model.named_parameters():
        prefix = f"optimizer.{name}."
        values = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if values:
            # All of it, "step" too: fused AdamW reads it on the parameter's device.
            optimizer.state[parameter] = {key: value.to(parameter.device).clone() for key, value in values.items()}
    return int(state["step"])
