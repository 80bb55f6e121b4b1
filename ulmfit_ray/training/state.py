"""The state of a training run as named tensors: all that a checkpoint must hold.

Batches, schedule and dropout masks are functions of the step. So the state is the model, the optimizer, what the
task carries from step to step, what validation has found so far, what the next report has to say of the steps since
the last one, and a few numbers.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ulmfit_ray.training.averaging import WeightAverage
from ulmfit_ray.training.judge import Judge
from ulmfit_ray.training.optimizer import load_optimizer, optimizer_tensors
from ulmfit_ray.training.task import Task

State = dict[str, Tensor]
MODEL, OPTIMIZER, CARRY, BEST, AVERAGE, SCALER = "model.", "optimizer.", "carry.", "best.", "average.", "scaler."
SUMS = "sums."


@dataclass(slots=True)
class RunState:
    """All of a run that changes."""

    task: Task
    optimizer: torch.optim.Optimizer
    judge: Judge
    average: WeightAverage
    scaler: torch.amp.GradScaler
    carry: list[Any]
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """The figures since the last report, summed over tokens and workers."""


def part(state: State, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a state, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def final_weights(state: State) -> dict[str, Tensor]:
    """Return the weights that a finished run leaves: the best epoch's if they were kept, else the means, if any."""
    return part(state, BEST) or part(state, MODEL) | part(state, AVERAGE)


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> State:
    return {prefix + name: value for name, value in tensors.items()}


def collect(run: RunState) -> State:
    """Return the state (all ranks); it shares the memory of model and optimizer."""
    return {
        "step": torch.tensor(run.step),
        "losses": torch.tensor(run.judge.losses, dtype=torch.float64),
        "scores": torch.tensor(run.judge.scores, dtype=torch.float64),
        "averaged_steps": torch.tensor(run.average.num_steps),
        **_prefixed(MODEL, run.task.model.state_dict()),
        **_prefixed(OPTIMIZER, optimizer_tensors(run.optimizer, run.task.model)),
        **_prefixed(CARRY, run.task.carry_tensors(run.carry)),
        **_prefixed(BEST, run.judge.best),
        **_prefixed(AVERAGE, run.average.means),
        **_prefixed(SUMS, {name: torch.tensor(value, dtype=torch.float64) for name, value in run.sums.items()}),
        **_prefixed(SCALER, {name: torch.tensor(value) for name, value in run.scaler.state_dict().items()}),
    }


def has_finite_weights(state: State) -> bool:
    """Tell whether no weight is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in part(state, MODEL).values() if tensor.is_floating_point())


def restore(state: State, run: RunState) -> None:
    """Put a state from `collect` back into a run."""
    model, device = run.task.model, run.task.device
    model.load_state_dict(part(state, MODEL))
    load_optimizer(run.optimizer, model, part(state, OPTIMIZER))
    run.step, run.carry = int(state["step"]), run.task.carry_from(part(state, CARRY))
    run.sums = {name: float(value) for name, value in part(state, SUMS).items()}
    run.judge.losses, run.judge.scores = state["losses"].tolist(), state["scores"].tolist()
    run.judge.best = _copied(part(state, BEST), device)
    run.average.means = _copied(part(state, AVERAGE), device)
    run.average.num_steps = int(state["averaged_steps"])
    if part(state, SCALER):
        run.scaler.load_state_dict({name: value.item() for name, value in part(state, SCALER).items()})


def _copied(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device, copy=True) for name, value in tensors.items()}
