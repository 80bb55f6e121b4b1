"""The language-modelling task: predict each next token of a contiguous, stateful stream."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import Hidden, LanguageModel, LayerGroup, detach_hidden
from ulmfit_ray.model.dropout import draw_masks
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.distributed import gather_dim, own_rows, own_weight, sum_over_workers
from ulmfit_ray.training.precision import autocast
from ulmfit_ray.training.task import Figures

Windows = Callable[[int, int], Iterator[np.ndarray]]
"""(epoch, first step) -> this worker's columns, window after window: (B, T + 1) token ids."""


class LanguageModelTask:
    """A language model, its streams, and the loss of AWD-LSTM (Merity et al. 2017)."""

    def __init__(
        self,
        model: LanguageModel,
        config: LanguageModelTraining,
        *,
        train_windows: Windows,
        steps_per_epoch: int,
        valid_windows: Windows | None,
        seed: int,
        precision: str,
        device: torch.device,
    ) -> None:
        self.model = model.to(device)
        self.device = device
        self.steps_per_epoch = steps_per_epoch
        self._config = config
        self._train_windows, self._valid_windows = train_windows, valid_windows
        self._seed, self._precision = seed, precision
        self._rows = own_rows(config.global_batch_size)
        self._weight = own_weight(config.global_batch_size)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the language model's own."""
        return self.model.layer_groups()

    def batches(self, epoch: int, first_step: int) -> Iterator[Tensor]:
        """Yield windows (B, T + 1) of this worker's columns."""
        for window in self._train_windows(epoch, first_step):
            yield torch.from_numpy(window).to(self.device, torch.int64, non_blocking=True)

    def initial_carry(self) -> Hidden:
        """Return zeros: every epoch starts afresh."""
        return self.model.backbone.initial_hidden(self._rows.stop - self._rows.start)

    def loss(self, model: nn.Module, batch: Tensor, carry: Hidden, step: int) -> tuple[Tensor, Hidden, Figures]:
        """Return cross-entropy plus activation regularization (AR) and temporal AR (TAR).

        The loss in the figures is the cross-entropy alone, in nats per token; what is differentiated is weighted by the
        worker's part of the batch.
        """
        masks = draw_masks(
            self.model.architecture,
            seed=self._seed * 1_000_003 + step,
            global_batch_size=self._config.global_batch_size,
            rows=self._rows,
            device=self.device,
        )
        with autocast(self._precision, self.device):
            loss, output, raw_output, hidden = model(batch[:, :-1], batch[:, 1:], carry, masks)
        total = loss
        if self._config.activation_reg:
            total = total + self._config.activation_reg * output.float().square().mean()
        if self._config.temporal_activation_reg and raw_output.shape[1] > 1:
            change = (raw_output[:, 1:] - raw_output[:, :-1]).float()
            total = total + self._config.temporal_activation_reg * change.square().mean()
        figures = {"loss": loss.detach(), "tokens": batch[:, 1:].numel()}
        return total * self._weight, [(h.float(), c.float()) for h, c in detach_hidden(hidden)], figures

    def carry_tensors(self, carry: Hidden) -> dict[str, Tensor]:
        """Return the hidden state of all columns, by layer (all ranks)."""
        tensors = {}
        for layer, pair in enumerate(carry):
            for name, value in zip("hc", pair, strict=True):
                tensors[f"{layer}.{name}"] = gather_dim(value, 1, self._config.global_batch_size)
        return tensors

    def carry_from(self, tensors: dict[str, Tensor]) -> Hidden:
        """Return the hidden state of this worker's columns, on its device."""
        layers = range(len(tensors) // 2)
        return [
            (tensors[f"{n}.h"][:, self._rows].to(self.device), tensors[f"{n}.c"][:, self._rows].to(self.device))
            for n in layers
        ]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return loss, perplexity and next-word accuracy on the held-out documents, state carried (all ranks)."""
        if self._valid_windows is None:
            return {}
        total, correct, count = 0.0, 0, 0
        for part in score_windows(self.model, self._valid_windows(0, 0), self._precision, self.device):
            total, correct, count = total + part[0], correct + part[1], count + part[2]
        total, correct_sum, count_sum = sum_over_workers([total, correct, count], self.device)
        loss_per_token = total / count_sum
        return {
            "loss": loss_per_token,
            "perplexity": math.exp(min(loss_per_token, 700.0)),
            "accuracy": correct_sum / count_sum,
        }


@torch.no_grad()
def score_windows(
    model: LanguageModel, windows: Iterable[np.ndarray], precision: str, device: torch.device
) -> Iterator[tuple[float, int, int]]:
    """Yield for each window (B, T + 1) the summed loss in nats, the next words predicted right, and their number.

    The state is zero in front of the first window, and carried from each to the next; there is no dropout.
    """
    hidden = None
    for window in windows:
        batch = torch.from_numpy(window).to(device, torch.int64)
        hidden = hidden or model.backbone.initial_hidden(len(batch))
        with autocast(precision, device):
            loss, right, hidden = model.score(batch[:, :-1], batch[:, 1:], hidden)
        hidden = [(h.float(), c.float()) for h, c in hidden]
        yield float(loss), int(right), batch[:, 1:].numel()
