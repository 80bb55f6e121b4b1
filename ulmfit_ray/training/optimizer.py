"""The optimizer over layer groups: whose weights are trained, at which rates, and the step itself."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import LayerGroup
from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.schedules import SCHEDULES, ScheduleFunction, discriminative_lrs


def make_optimizer(layer_groups: Sequence[LayerGroup], config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer with two parameter groups per layer group: matrices decay, vectors do not."""
    groups = []
    factors = discriminative_lrs(1.0, len(layer_groups), decay=config.discriminative_decay)
    for (name, parameters), factor in zip(layer_groups, factors, strict=True):
        for is_matrix, decay in ((True, config.weight_decay), (False, 0.0)):
            chosen = [parameter for parameter in parameters if (parameter.ndim >= 2) == is_matrix]
            if chosen:
                groups.append({"name": name, "params": chosen, "weight_decay": decay, "rate_factor": factor})
    if config.optimizer == "nt-asgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, fused=True)
    # The first beta is the schedule's.
    betas = (0.9, config.adam_beta2)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.learning_rate, betas=betas, eps=config.adam_eps, fused=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.adam_eps, fused=True)


def set_rates(
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    step: int,
    num_steps: int,
    *,
    highest: float,
    schedule: ScheduleFunction | None = None,
) -> float:
    """Set the rates and momentum for `step` of a cycle of `num_steps`; return the last group's rate.

    `highest` is the last group's rate where the schedule is 1. The schedule is the config's, unless one is given.
    """
    multiplier, beta1 = (schedule or SCHEDULES[config.schedule])(step, num_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["rate_factor"] * highest * multiplier
        if "betas" in group:
            group["betas"] = (beta1, config.adam_beta2)
    return highest * multiplier


def freeze(layer_groups: Sequence[LayerGroup], trained: range) -> None:
    """Let the groups of these numbers be trained, and the others not."""
    for number, (_, parameters) in enumerate(layer_groups):
        for parameter in parameters:
            parameter.requires_grad_(number in trained)


def update_weights(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[Tensor],
    config: TrainingConfig,
    scaler: torch.amp.GradScaler,
) -> None:
    """Clip the gradient of all parameters together, take the optimizer's step, and clear the gradient.

    A scaler that is on takes its factor out of the gradient first, and leaves out a step whose gradient is not finite.
    """
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors, keyed by the parameters' names in the model."""
    names: dict[object, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}.{key}": value
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Restore the optimizer's state from the tensors that `optimizer_tensors` returned."""
    for name, parameter in model.named_parameters():
        prefix = f"{name}."
        values = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if values:
            # All of it, "step" too: fused AdamW reads it on the parameter's device.
            optimizer.state[parameter] = {key: value.to(parameter.device).clone() for key, value in values.items()}
