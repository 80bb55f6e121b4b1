"""The retrieval task: each query's own document among all documents of the batch, and the other way round."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks, draw_masks
from ulmfit_ray.model.retriever import Retriever
from ulmfit_ray.training.distributed import gather_dim, gather_rows, own_rows
from ulmfit_ray.training.loop import TrainingConfig
from ulmfit_ray.training.precision import autocast


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrieverTraining(TrainingConfig):
    """How a retriever is trained; the defaults are what worked on 5,183 abstracts."""

    num_epochs: int = 8
    """Passes over the pairs."""
    global_batch_size: int = 128
    """Pairs of a batch over all workers: each query has all others' documents as negatives."""
    learning_rate: float = 1e-2
    """Highest rate of the schedule."""
    schedule: Literal["one-cycle", "linear"] = "linear"
    """one-cycle: fastai's; linear: 10 % warm-up, then down to 0."""
    temperature: float = 0.1
    """Divides the dot products in front of the softmax."""
    dropout: float = 0.1
    """Between the encoder's layers."""

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        if self.temperature <= 0:
            raise ValueError(f"training.temperature must be over 0, not {self.temperature}")


class Batch(Protocol):
    """What a batch of pairs has; see data.pairs.PairBatch."""

    query_ids: np.ndarray
    query_lengths: np.ndarray
    document_ids: np.ndarray
    document_lengths: np.ndarray
    keys: np.ndarray


Batches = Callable[[int, int], Iterator[Any]]
"""(epoch, first step) -> this worker's part of each batch."""


class RetrieverTask:
    """A retriever, its pairs, and the symmetric in-batch softmax over all workers' vectors."""

    def __init__(
        self,
        model: Retriever,
        config: RetrieverTraining,
        *,
        batches: Batches,
        steps_per_epoch: int,
        seed: int,
        precision: str,
        device: torch.device,
    ) -> None:
        self.model = model.to(device)
        self.device = device
        self.steps_per_epoch = steps_per_epoch
        self.batches = batches
        self._config, self._seed, self._precision = config, seed, precision
        self._rows = own_rows(config.global_batch_size)

    def initial_carry(self) -> None:
        """Return nothing: batches do not depend on each other."""

    def carry_tensors(self, carry: None) -> dict[str, Tensor]:
        """Return nothing to keep."""
        return {}

    def carry_from(self, tensors: dict[str, Tensor]) -> None:
        """Take nothing back."""

    def validate(self) -> dict[str, float]:
        """Return nothing: a retriever is judged by `evaluate retrieval`, on queries of another kind."""
        return {}

    def _masks(self, step: int) -> DropoutMasks:
        encoder = self.model.encoder
        if encoder is None:
            return NO_DROPOUT
        return draw_masks(
            encoder.architecture.without_dropout(hidden_dropout=self._config.dropout),
            seed=self._seed * 1_000_003 + step,
            global_batch_size=self._config.global_batch_size,
            rows=self._rows,
            device=self.device,
        )

    def loss(self, model: nn.Module, batch: Batch, carry: None, step: int) -> tuple[Tensor, None, dict[str, Any]]:
        """Return the joint vectors' loss plus each block's own, so that each block is good alone too.

        Every rank computes the loss of the whole batch from the gathered vectors; the gradient that comes back
        through the gathering is summed over ranks and then averaged, which gives that of one worker.
        """
        towers, places = [], []
        for number, (ids, lengths) in enumerate(
            ((batch.query_ids, batch.query_lengths), (batch.document_ids, batch.document_lengths))
        ):
            order = np.argsort(-lengths, kind="stable")
            places.append(self._tensor(np.argsort(order)))
            masks = self._masks(2 * step + number).rows(self._tensor(order))
            towers.append((self._tensor(ids[order]), self._tensor(lengths[order]), masks))
        with autocast(self._precision, self.device):
            results = model(towers)
        queries, documents = (
            {name: block[place] for name, block in tower.items()} for tower, place in zip(results, places, strict=True)
        )
        keys = gather_dim(self._tensor(batch.keys), 0)
        losses, figures = [], {}
        for name in queries:
            loss, accuracy = contrastive_loss(
                gather_rows(queries[name]), gather_rows(documents[name]), keys, self._config.temperature
            )
            losses.append(loss)
            figures[f"accuracy_{name}"] = accuracy
        total = torch.stack(losses).sum()
        num_tokens = int(batch.query_lengths.sum() + batch.document_lengths.sum())
        return total, None, {"loss": total.detach(), "tokens": num_tokens} | figures

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def contrastive_loss(queries: Tensor, documents: Tensor, keys: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the symmetric softmax loss of matched rows (G, D), and the part of queries whose own document is first.

    Pairs (i, j) with the same query or the same document (equal `keys`, (G, 2)) are no negatives for each other.
    """
    scores = queries @ documents.t() / temperature
    same = (keys[:, None, :] == keys[None, :, :]).any(2)
    same.fill_diagonal_(False)
    scores = scores.masked_fill(same, -torch.inf)
    own = torch.arange(len(scores), device=scores.device)
    loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.t(), own)) / 2
    return loss, (scores.detach().argmax(1) == own).float().mean()
