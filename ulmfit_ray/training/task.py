"""What the training loop needs to know of a task. Each task is one file in tasks/."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import LayerGroup

Figures = dict[str, Any]
"""What one step has to say: numbers or tensors of one number. Counts are added up, all else is averaged over them."""
COUNTS = ("tokens", "documents")


def weight_in(figures: Figures) -> float:
    """Return what a mean counts for: its documents where the task names them, else its tokens."""
    return float(figures["documents"] if "documents" in figures else figures["tokens"])


class Task(Protocol):
    """What the loop needs to know of a task.

    A batch is a list of pieces, whose gradients are added up: one, unless memory is short. `carry` is what one step
    hands to the next (an LM's hidden state), one for each piece.
    """

    device: torch.device
    precision: str
    steps_per_epoch: int

    @property
    def model(self) -> nn.Module:
        """The model whose weights are trained."""

    def layer_groups(self) -> list[LayerGroup]:
        """Return all parameters of the model in named groups, those nearest to the input first."""

    def batches(self, epoch: int, first_step: int) -> Iterator[list[Any]]:
        """Yield this worker's batches of an epoch, from a step on."""

    def rate_factor(self, batch: list[Any]) -> float:
        """Return by what the schedule's rate is multiplied for this batch."""

    def initial_carry(self) -> list[Any]:
        """Return the carry at an epoch's start."""

    def loss(self, model: nn.Module, piece: Any, carry: Any, step: int) -> tuple[Tensor, Any, Figures]:
        """Return the loss to differentiate, the new carry, and figures to log, of a piece of this worker's batch."""

    def carry_tensors(self, carry: list[Any]) -> dict[str, Tensor]:
        """Return the carry of all workers as named tensors (all ranks)."""

    def carry_from(self, tensors: dict[str, Tensor]) -> list[Any]:
        """Return this worker's part of what `carry_tensors` returned, also with another number of workers."""

    def validate(self) -> dict[str, float]:
        """Return figures on the validation documents (all ranks); nothing of the training state changes."""


class IndependentBatches:
    """The part of a task whose batches do not depend on each other, and are all alike."""

    def rate_factor(self, batch: list[Any]) -> float:
        """Return 1: all batches are alike."""
        return 1.0

    def initial_carry(self) -> list[None]:
        """Return nothing, for the one piece that a batch is."""
        return [None]

    def carry_tensors(self, carry: list[None]) -> dict[str, Tensor]:
        """Return nothing to keep."""
        return {}

    def carry_from(self, tensors: dict[str, Tensor]) -> list[None]:
        """Take nothing back."""
        return [None]
