"""The optimizer: AdamW over layer groups, with rates and momentum set by the schedule at each step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import LayerGroup
from ulmfit_ray.training.config import TrainingConfig
from ulmfit_ray.training.schedules import SCHEDULES, Schedule


def make_optimizer(layer_groups: Iterable[LayerGroup], config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW (fused) with two parameter groups per layer group: matrices decay, vectors do not."""
    groups = []
    for name, parameters in layer_groups:
        for is_matrix, decay in ((True, config.weight_decay), (False, 0.0)):
            chosen = [parameter for parameter in parameters if (parameter.ndim >= 2) == is_matrix]
            if chosen:
                groups.append({"name": name, "params": chosen, "weight_decay": decay})
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(0.9, config.adam_beta2), eps=config.adam_eps, fused=True
    )


def set_rates(
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    step: int,
    num_steps: int,
    schedule: Schedule | None = None,
) -> float:
    """Set the rate and momentum of a schedule (the config's, unless one is given) for `step`; return the rate."""
    multiplier, beta1 = (schedule or SCHEDULES[config.schedule])(step, num_steps)
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * multiplier
        group["betas"] = (beta1, config.adam_beta2)
    return config.learning_rate * multiplier


def update_weights(optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor], config: TrainingConfig) -> None:
    """Clip the gradient of all parameters together, take the optimizer's step, and clear the gradient."""
    torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors, keyed by the parameters' names in the model."""
    names: dict[object, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}.{key}": value
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Restore the optimizer's state from the tensors that `optimizer_tensors` returned."""
    for name, parameter in model.named_parameters():
        prefix = f"{name}."
        values = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if values:
            # All of it, "step" too: fused AdamW reads it on the parameter's device.
            optimizer.state[parameter] = {key: value.to(parameter.device).clone() for key, value in values.items()}
