"""The state of a training run as named tensors: all that a checkpoint must hold.

Batches, schedule and dropout masks are functions of the step. So the state is the model, the optimizer, what the
task carries from step to step, what the next report has to say of the steps so far, and one number.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ulmfit_ray.training.optimizer import load_optimizer, optimizer_tensors
from ulmfit_ray.training.task import Task

State = dict[str, Tensor]
MODEL, OPTIMIZER, CARRY, SUMS = "model.", "optimizer.", "carry.", "sums."


def part(state: State, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of one part of a state, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> State:
    return {prefix + name: value for name, value in tensors.items()}


def collect(
    task: Task, optimizer: torch.optim.Optimizer, carry: Any, step: int, sums: Mapping[str, float] | None = None
) -> State:
    """Return the state after `step` steps (all ranks); it shares the memory of model and optimizer.

    `sums` are the figures since the last report, summed: of a run that goes on, they belong to its next report.
    """
    return {
        "step": torch.tensor(step),
        **_prefixed(MODEL, task.model.state_dict()),
        **_prefixed(OPTIMIZER, optimizer_tensors(optimizer, task.model)),
        **_prefixed(CARRY, task.carry_tensors(carry)),
        **_prefixed(SUMS, {name: torch.tensor(value, dtype=torch.float64) for name, value in (sums or {}).items()}),
    }


def has_finite_weights(state: State) -> bool:
    """Tell whether no weight is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in part(state, MODEL).values() if tensor.is_floating_point())


def restore(state: State, task: Task, optimizer: torch.optim.Optimizer) -> tuple[int, Any]:
    """Put a state from `collect` back into the task's model and the optimizer; return its step and carry."""
    task.model.load_state_dict(part(state, MODEL))
    load_optimizer(optimizer, task.model, part(state, OPTIMIZER))
    return int(state["step"]), task.carry_from(part(state, CARRY))
