"""What the training loop needs to know of a task. Each task is one file in tasks/."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import LayerGroup

Figures = dict[str, Any]
"""What one step has to say: numbers or tensors of one number. "tokens" are added up, all else is averaged over them."""


class Task(Protocol):
    """What the loop needs to know of a task. `carry` is what one step hands to the next (an LM's hidden state)."""

    device: torch.device
    steps_per_epoch: int

    @property
    def model(self) -> nn.Module:
        """The model whose weights are trained."""

    def layer_groups(self) -> list[LayerGroup]:
        """Return all parameters of the model in named groups."""

    def batches(self, epoch: int, first_step: int) -> Iterator[Any]:
        """Yield this worker's batches of an epoch, from a step on."""

    def initial_carry(self) -> Any:
        """Return the carry at an epoch's start."""

    def loss(self, model: nn.Module, batch: Any, carry: Any, step: int) -> tuple[Tensor, Any, Figures]:
        """Return the loss to differentiate, the new carry, and figures to log, of this worker."""

    def carry_tensors(self, carry: Any) -> dict[str, Tensor]:
        """Return the carry of all workers as named tensors (all ranks)."""

    def carry_from(self, tensors: dict[str, Tensor]) -> Any:
        """Return this worker's part of what `carry_tensors` returned, also with another number of workers."""

    def validate(self) -> dict[str, float]:
        """Return figures on the validation documents (all ranks); nothing of the training state changes."""
