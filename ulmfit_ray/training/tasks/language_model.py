"""The language-modelling task: predict each next token of a contiguous, stateful stream."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import Hidden, LanguageModel, LayerGroup, detach_hidden
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks, draw_masks
from ulmfit_ray.model.sampled_softmax import Sample, draw_words
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.distributed import gather_dim, own_rows, pieces_of, sum_over_workers, weight_of
from ulmfit_ray.training.precision import autocast
from ulmfit_ray.training.prefetch import prefetched
from ulmfit_ray.training.task import Figures

Windows = Callable[[int, int], Iterator[np.ndarray]]
"""(epoch, first step) -> this worker's columns, window after window: (B, T + 1) token ids."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some columns of a window."""

    token_ids: Tensor
    """(B, T + 1)"""
    rows: slice
    """Which rows of the global batch they are."""


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
        self._seed, self.precision = seed, precision
        self._rows = own_rows(config.global_batch_size)
        self._pieces = pieces_of(self._rows, config.accumulation_steps)
        self._drawn = (-1, NO_DROPOUT)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the language model's own."""
        return self.model.layer_groups()

    def batches(self, epoch: int, first_step: int) -> Iterator[list[Piece]]:
        """Yield windows of this worker's columns."""
        for window in prefetched(self._train_windows(epoch, first_step)):
            token_ids = torch.from_numpy(window).to(self.device, torch.int64, non_blocking=True)
            first = self._rows.start
            yield [Piece(token_ids[rows.start - first : rows.stop - first], rows) for rows in self._pieces]

    def rate_factor(self, batch: list[Piece]) -> float:
        """Return the part of `bptt` that the window has, if windows vary (awd-lstm-lm does the same)."""
        return (batch[0].token_ids.shape[1] - 1) / self._config.bptt if self._config.vary_bptt else 1.0

    def initial_carry(self) -> list[Hidden]:
        """Return zeros: every epoch starts afresh."""
        return [self.model.backbone.initial_hidden(rows.stop - rows.start) for rows in self._pieces]

    def _seed_of(self, step: int) -> int:
        return self._seed * 1_000_003 + step

    def _masks(self, rows: slice, step: int) -> DropoutMasks:
        """Return a piece's masks; those of all pieces of a step are drawn together."""
        if self._drawn[0] != step:
            masks = draw_masks(
                self.model.architecture,
                seed=self._seed_of(step),
                global_batch_size=self._config.global_batch_size,
                rows=self._rows,
                device=self.device,
            )
            self._drawn = (step, masks)
        return self._drawn[1].rows(slice(rows.start - self._rows.start, rows.stop - self._rows.start))

    def _sample(self, step: int) -> Sample | None:
        draws, size = self._config.sampled_softmax, self.model.architecture.vocab_size
        return draw_words(size, draws, seed=self._seed_of(step), device=self.device) if draws else None

    def loss(self, model: nn.Module, piece: Piece, carry: Hidden, step: int) -> tuple[Tensor, Hidden, Figures]:
        """Return cross-entropy plus activation regularization (AR) and temporal AR (TAR).

        The loss in the figures is the cross-entropy alone, in nats per token; what is differentiated is weighted by the
        piece's part of the batch.
        """
        token_ids = piece.token_ids
        with autocast(self.precision, self.device):
            masks, sample = self._masks(piece.rows, step), self._sample(step)
            loss, output, raw_output, hidden = model(token_ids[:, :-1], token_ids[:, 1:], carry, masks, sample)
        total = loss
        if self._config.activation_reg:
            total = total + self._config.activation_reg * output.float().square().mean()
        if self._config.temporal_activation_reg and raw_output.shape[1] > 1:
            change = (raw_output[:, 1:] - raw_output[:, :-1]).float()
            total = total + self._config.temporal_activation_reg * change.square().mean()
        figures = {"loss": loss.detach(), "tokens": token_ids[:, 1:].numel()}
        weight = weight_of(piece.rows, self._config.global_batch_size)
        return total * weight, [(h.float(), c.float()) for h, c in detach_hidden(hidden)], figures

    def carry_tensors(self, carry: list[Hidden]) -> dict[str, Tensor]:
        """Return the hidden state of all columns, by layer (all ranks)."""
        tensors = {}
        for layer, pieces in enumerate(zip(*carry, strict=True)):
            for name, values in zip("hc", zip(*pieces, strict=True), strict=True):
                own = torch.cat(values, 1)
                tensors[f"{layer}.{name}"] = gather_dim(own, 1, self._config.global_batch_size)
        return tensors

    def carry_from(self, tensors: dict[str, Tensor]) -> list[Hidden]:
        """Return the hidden state of this worker's columns, on its device."""
        layers = range(len(tensors) // 2)
        return [
            [(tensors[f"{n}.h"][:, rows].to(self.device), tensors[f"{n}.c"][:, rows].to(self.device)) for n in layers]
            for rows in self._pieces
        ]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return loss, perplexity and next-word accuracy on the held-out documents, state carried (all ranks)."""
        if self._valid_windows is None:
            return {}
        total, correct, count = 0.0, 0, 0
        for part in score_windows(self.model, self._valid_windows(0, 0), self.precision, self.device):
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
