"""The running mean of a model's weights, which averaged gradient descent (Polyak and Juditsky 1992) ends with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The mean of the weights after each step since the first `update`; nothing before it."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self.means: dict[str, Tensor] = {}
        """Empty before the first update."""
        self.num_steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.num_steps += 1
        if self.num_steps == 1:
            self.means = {name: weight.clone() for name, weight in self._weights.items()}
            return
        for name, weight in self._weights.items():
            self.means[name].lerp_(weight, 1 / self.num_steps)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the means as its weights for a while, if there are any."""
        own = {name: self._weights[name].clone() for name in self.means}
        self._set(self.means)
        try:
            yield
        finally:
            self._set(own)

    def _set(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self._weights[name].copy_(value)
