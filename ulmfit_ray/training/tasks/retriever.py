"""The retrieval task: each query's own document among all documents of the batch, and the other way round."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import LayerGroup
from ulmfit_ray.model.dropout import NO_DROPOUT, DropoutMasks, draw_masks
from ulmfit_ray.model.retriever import Retriever
from ulmfit_ray.training.config import RetrieverTraining
from ulmfit_ray.training.distributed import gather_rows, own_share
from ulmfit_ray.training.precision import autocast
from ulmfit_ray.training.task import Figures, IndependentBatches


class Batch(Protocol):
    """What a batch of pairs has; see streams.pairs.PairBatch."""

    query_ids: np.ndarray
    query_lengths: np.ndarray
    document_ids: np.ndarray
    document_lengths: np.ndarray
    keys: np.ndarray


Batches = Callable[[int, int], Iterator[Any]]
"""(epoch, first step) -> this worker's part of each batch."""


class RetrieverTask(IndependentBatches):
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
        self._batches = batches
        self._config, self._seed, self.precision = config, seed, precision
        self._rows = own_share(config.global_batch_size)

    def layer_groups(self) -> list[LayerGroup]:
        """Return the retriever's own."""
        return self.model.layer_groups()

    def batches(self, epoch: int, first_step: int) -> Iterator[list[Batch]]:
        """Yield batches whole: a query is compared with all of its batch."""
        return ([batch] for batch in self._batches(epoch, first_step))

    def validate(self) -> dict[str, float]:
        """Return nothing: a retriever is measured by `evaluate retrieval`, with judged queries."""
        return {}

    def _masks(self, step: int) -> DropoutMasks:
        backbone = self.model.backbone
        if backbone is None:
            return NO_DROPOUT
        return draw_masks(
            backbone.architecture.without_dropout(hidden_dropout=self._config.dropout),
            seed=self._seed * 1_000_003 + step,
            global_batch_size=self._config.global_batch_size,
            rows=self._rows,
            device=self.device,
        )

    def loss(self, model: nn.Module, batch: Batch, carry: None, step: int) -> tuple[Tensor, None, Figures]:
        """Return the loss of the joint vectors plus the loss of each block, so that a block is also useful alone.

        Every rank computes the loss of the whole batch from the gathered vectors. In the backward pass the gradients
        are summed over ranks by `gather_rows` and then averaged by DDP, which gives the gradient of a single worker.
        """
        towers, places = [], []
        for number, (ids, lengths) in enumerate(
            ((batch.query_ids, batch.query_lengths), (batch.document_ids, batch.document_lengths))
        ):
            order = np.argsort(-lengths, kind="stable")
            places.append(self._tensor(np.argsort(order)))
            masks = self._masks(2 * step + number).rows(self._tensor(order))
            towers.append((self._tensor(ids[order]), self._tensor(lengths[order]), masks))
        with autocast(self.precision, self.device):
            results = model(towers)
        queries, documents = (
            {name: block[place] for name, block in tower.items()} for tower, place in zip(results, places, strict=True)
        )
        size = self._config.global_batch_size
        keys = gather_rows(self._tensor(batch.keys), size)
        losses, figures = [], {}
        for name in queries:
            both = gather_rows(queries[name], size), gather_rows(documents[name], size)
            loss, accuracy = contrastive_loss(*both, keys, self._config.temperature)
            losses.append(loss)
            figures[f"accuracy_{name}"] = accuracy
        total = torch.stack(losses).sum()
        num_tokens = int(batch.query_lengths.sum() + batch.document_lengths.sum())
        return total, None, {"loss": total.detach(), "tokens": num_tokens} | figures

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def contrastive_loss(queries: Tensor, documents: Tensor, keys: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the symmetric softmax loss, and the fraction of queries whose own document scores highest.

    Row i of `queries` (G, D) belongs to row i of `documents` (G, D); scores are divided by `temperature`. Rows with the
    same query or the same document, that is with an equal key in `keys` (G, 2), are not negatives for each other.
    """
    scores = queries @ documents.t() / temperature
    same = (keys[:, None, :] == keys[None, :, :]).any(2)
    same.fill_diagonal_(False)
    scores = scores.masked_fill(same, -torch.inf)
    own = torch.arange(len(scores), device=scores.device)
    loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.t(), own)) / 2
    return loss, (scores.detach().argmax(1) == own).float().mean()
