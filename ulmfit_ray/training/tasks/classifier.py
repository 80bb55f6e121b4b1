"""The classification task: whole documents, pooled by all workers, under a head that sees the global batch.

Each worker pools its own documents. The pooled vectors are gathered with gradient, and every worker runs the head on
all of them: batch norm, class weights and the loss are those of one worker that has the whole batch.

G documents of the global batch, C outputs.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import LayerGroup
from ulmfit_ray.model.classifier import AS_TRAINED, Classifier, draw_head_masks
from ulmfit_ray.model.dropout import draw_masks
from ulmfit_ray.model.pooled_gradient import GradientReach
from ulmfit_ray.training.config import ClassifierTraining
from ulmfit_ray.training.distributed import gather_rows, world_size
from ulmfit_ray.training.precision import autocast
from ulmfit_ray.training.prefetch import prefetched
from ulmfit_ray.training.task import Figures, IndependentBatches


class Batch(Protocol):
    """What a batch of documents has; see streams.labelled.LabelledBatch."""

    documents: Sequence[np.ndarray]
    """This worker's, longest first."""
    rows: slice
    """Which rows of the global batch they are."""
    size: int
    """Rows of the global batch."""
    targets: np.ndarray
    """Of all its rows: classes (G,), or zeros and ones (G, C), or numbers (G,)."""
    num_tokens: int
    """Of all its rows."""
    numbers: np.ndarray
    """Of all its rows: which documents they are."""


Batches = Callable[[int, int], Iterator[Any]]
"""(epoch, first step) -> batches, each with this worker's documents."""
Judgement = tuple[dict[str, float], np.ndarray | None]
"""Figures, and of several labels the thresholds (C,) that suit these documents."""


class ClassifierTask(IndependentBatches):
    """A classifier and its labelled documents."""

    def __init__(
        self,
        model: Classifier,
        config: ClassifierTraining,
        *,
        head_dropouts: Sequence[float],
        class_weights: np.ndarray | None,
        batches: Batches,
        steps_per_epoch: int,
        valid_batches: Callable[[], Iterator[Any]] | None,
        judge: Callable[[np.ndarray, np.ndarray], Judgement],
        seed: int,
        precision: str,
        device: torch.device,
    ) -> None:
        """`judge` makes figures of outputs (N, C) and targets of all validation documents."""
        self.model = model.to(device)
        self.device, self.precision = device, precision
        self.steps_per_epoch = steps_per_epoch
        self._config, self._seed = config, seed
        self._batches, self._valid_batches, self._judge = batches, valid_batches, judge
        self._dropouts = head_dropouts
        self._weights = None if class_weights is None else self._tensor(class_weights.astype(np.float32))
        self._reach = GradientReach(
            window=config.bptt,
            num_tokens=config.gradient_tokens,
            stops_at_windows=config.truncate_at_windows,
            tokens_in_memory=config.tokens_in_memory,
        )

    def layer_groups(self) -> list[LayerGroup]:
        """Return the classifier's own."""
        return self.model.layer_groups()

    def batches(self, epoch: int, first_step: int) -> Iterator[list[Batch]]:
        """Yield batches whole: the head wants all of it."""
        return ([batch] for batch in prefetched(self._batches(epoch, first_step)))

    def loss(self, model: nn.Module, batch: Batch, carry: None, step: int) -> tuple[Tensor, None, Figures]:
        """Return the loss of the global batch with AR and TAR; the figures have the loss alone (all ranks alike).

        In the backward pass the gradients of the pooled vectors are summed over ranks by `gather_rows` and then
        averaged by DDP, which gives the gradient of a single worker.
        """
        seed = self._seed * 1_000_003 + step
        architecture = self.model.backbone.architecture
        masks = draw_masks(architecture, seed=seed, global_batch_size=batch.size, rows=batch.rows, device=self.device)
        inputs = self.model.description.sizes(self.model.vector_width(AS_TRAINED))[:-1]
        head_masks = draw_head_masks(inputs, self._dropouts, num_rows=batch.size, seed=seed + 1, device=self.device)
        ids, num_tokens = self._padded(batch.documents)
        with autocast(self.precision, self.device):
            outputs, activity = model(
                *(ids, num_tokens, masks, head_masks),
                reach=self._reach,
                gather=partial(gather_rows, global_size=batch.size),
            )
        targets = self._tensor(batch.targets)
        loss = self._loss(outputs, targets)
        factors = self._tensor(
            np.array([self._config.activation_reg, self._config.temporal_activation_reg], np.float32)
        )
        total = loss + (activity.sum(0) * factors).sum() / batch.num_tokens
        figures: Figures = {"loss": loss.detach(), "tokens": int(num_tokens.sum()), "documents": len(num_tokens)}
        if self.model.description.objective == "single-label":
            figures["accuracy"] = (outputs.detach().argmax(1) == targets).float().mean()
        return total, None, figures

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss: in nats for labels, a square in units of the targets' deviation for numbers."""
        objective, smoothing = self.model.description.objective, self._config.label_smoothing
        if objective == "single-label":
            return F.cross_entropy(outputs, targets, self._weights, label_smoothing=smoothing)
        if objective == "multi-label":
            smoothed = targets * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(outputs, smoothed, pos_weight=self._weights)
        wanted = (targets - self.model.target_mean) / self.model.target_std
        return F.mse_loss(outputs[:, 0], wanted.float())

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return figures on the validation documents (all ranks); of several labels, also set the thresholds."""
        if self._valid_batches is None:
            return {}
        parts = []
        for batch in self._valid_batches():
            outputs = torch.zeros(batch.size, self.model.description.num_outputs, device=self.device)
            if len(batch.documents):
                outputs[batch.rows] = self._outputs(batch.documents)
            parts.append((batch.numbers, outputs, batch.targets))
        every = torch.cat([outputs for _, outputs, _ in parts])
        if world_size() > 1:
            # Each row has been computed by one worker, and is 0 on the others.
            dist.all_reduce(every)
        order = np.argsort(np.concatenate([numbers for numbers, _, _ in parts]))
        targets = np.concatenate([targets for _, _, targets in parts])
        figures, thresholds = self._judge(every.cpu().double().numpy()[order], targets[order])
        if thresholds is not None:
            self.model.thresholds.copy_(torch.from_numpy(thresholds))
        return figures

    def _outputs(self, documents: Sequence[np.ndarray]) -> Tensor:
        ids, num_tokens = self._padded(documents)
        with autocast(self.precision, self.device):
            pooled = self.model.vectors(ids, num_tokens, AS_TRAINED)
        outputs: Tensor = self.model.head(pooled)
        return outputs

    def _padded(self, documents: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Return ids (B, T) and lengths (B,) on the device."""
        lengths = np.array([len(document) for document in documents], np.int64)
        ids = np.zeros((len(documents), int(lengths[0])), np.int64)
        for row, document in zip(ids, documents, strict=True):
            row[: len(document)] = document
        return self._tensor(ids), self._tensor(lengths)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)
