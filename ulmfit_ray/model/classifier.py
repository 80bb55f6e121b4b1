"""ULMFiT's classifier: an AWD-LSTM, concat pooling over the whole document, and a small head.

Head as in fastai: for each linear layer norm, dropout, linear, and ReLU behind all but the last. The pooled vector is
[last, max, mean] of the last layer's outputs.

B documents (G of the global batch), T time steps, E width of an output, P = 3E, C outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ulmfit_ray.model.awd_lstm import AWDLSTM, LayerGroup
from ulmfit_ray.model.description import ClassifierHead, Reading, pooled_width
from ulmfit_ray.model.dropout import DropoutMasks, keep_mask
from ulmfit_ray.model.pooled_gradient import GradientReach, pooled_with_activity

POOLING = "concat"
AS_TRAINED = Reading(pooling=POOLING)
FIRST_NORM_BIAS = 1e-3
"""fastai's batch norms begin with this bias."""


class _Block(nn.Module):
    """Norm -> dropout -> linear."""

    def __init__(self, inputs: int, outputs: int, head: ClassifierHead) -> None:
        super().__init__()
        self.norm: nn.Module = nn.Identity()
        if head.norm != "none":
            self.norm = nn.BatchNorm1d(inputs) if head.norm == "batch" else nn.LayerNorm(inputs)
            nn.init.constant_(self.norm.bias, FIRST_NORM_BIAS)
        self.linear = nn.Linear(inputs, outputs, bias=head.has_bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm(x)
        result: Tensor = self.linear(x if mask is None else x * mask)
        return result


class Head(nn.Module):
    """Pooled vectors (B, P) -> outputs (B, C)."""

    def __init__(self, head: ClassifierHead, pooled: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(*sizes, head) for sizes in pairwise(head.sizes(pooled)))

    def features(self, pooled: Tensor, masks: Sequence[Tensor | None] = ()) -> Tensor:
        """Return what goes into the last block: (B, its width)."""
        for number, block in enumerate(self.blocks[:-1]):
            pooled = F.relu(block(pooled, masks[number] if masks else None))
        return pooled

    def forward(self, pooled: Tensor, masks: Sequence[Tensor | None] = ()) -> Tensor:
        """Return the outputs (B, C); `masks` are factors in front of each linear layer, (B, its inputs)."""
        outputs: Tensor = self.blocks[-1](self.features(pooled, masks), masks[-1] if masks else None)
        return outputs


class Classifier(nn.Module):
    """A backbone and a head; `thresholds` and the target's mean and deviation travel with the weights."""

    thresholds: Tensor
    """(C,): of several labels those whose probability is at least theirs are predicted."""
    target_mean: Tensor
    """Of a regression: outputs are in units of `target_std` around it."""
    target_std: Tensor

    def __init__(self, backbone: AWDLSTM, head: ClassifierHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.description = head
        self.head = Head(head, self.vector_width(AS_TRAINED))
        self.register_buffer("thresholds", torch.full((head.num_outputs,), 0.5, dtype=torch.float64))
        self.register_buffer("target_mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("target_std", torch.ones((), dtype=torch.float64))

    def forward(
        self,
        token_ids: Tensor,
        num_tokens: Tensor,
        masks: DropoutMasks,
        head_masks: Sequence[Tensor | None],
        *,
        reach: GradientReach,
        gather: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return outputs (G, C) and activity (G, 2) of the global batch, in training.

        The rows given are this worker's: ids (B, T), longest first. `gather` turns rows of this worker into those of
        all workers, with gradient, so that the head and its batch norm see the global batch. Activity: see
        `pooled_with_activity`.
        """
        pooled, activity = pooled_with_activity(self.backbone, token_ids, num_tokens, masks, reach)
        rows = gather(torch.cat([pooled, activity], 1))
        with torch.autocast(rows.device.type, enabled=False):
            return self.head(rows[:, :-2], head_masks), rows[:, -2:]

    def vectors(
        self,
        token_ids: Tensor,
        num_tokens: Tensor,
        reading: Reading,
        *,
        idf: Tensor | None = None,
        runner: AWDLSTM | None = None,
    ) -> Tensor:
        """Return pooled vectors (B, D) of documents: see model.kinds.VectorModel. Pooling idf-mean needs `idf` (V,)."""
        weights = idf[token_ids] if reading.pooling == "idf-mean" and idf is not None else None  # (B, T)
        return self.backbone.pooled(token_ids, num_tokens, reading, weights=weights, runner=runner)

    def vector_width(self, reading: Reading) -> int:
        """Return D for a way of reading."""
        return pooled_width(reading.pooling, self.backbone.width(reading.layer))

    def word_table(self) -> Tensor:
        """Return the vectors of single words (rows, E): see model.kinds.VectorModel."""
        return self.backbone.embedding.weight

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embedding, the LSTM layers, and the head: fastai's split."""
        return [*self.backbone.layer_groups(), ("head", list(self.head.parameters()))]


def draw_head_masks(
    sizes: Sequence[int], dropouts: Sequence[float], *, num_rows: int, seed: int, device: torch.device
) -> list[Tensor | None]:
    """Return the dropout masks (G, inputs) in front of each linear layer, for all rows of a global batch.

    `sizes` are the inputs of each layer, `dropouts` their probabilities. All ranks draw the same numbers.
    """
    generator = torch.Generator(device).manual_seed(seed)
    return [keep_mask((num_rows, size), p, generator) for size, p in zip(sizes, dropouts, strict=True)]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a classifier says of N documents."""

    probabilities: np.ndarray
    """float32 (N, C); of a regression the numbers, rounded to float32 too but float64, (N, 1)."""
    features: np.ndarray
    """float32 (N, F): the inputs of the head's last block."""


class Scorer:
    """The head at inference, in float64.

    In float32 the last bits of an output depend on how many rows are computed together. In float64 they do, too, but
    they are gone when the result is rounded to float32. So on a CPU a document's probabilities are the same to the
    last bit in any company.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._objective = classifier.description.objective
        width = classifier.vector_width(AS_TRAINED)
        self._head = Head(classifier.description, width).double()
        self._head.load_state_dict(classifier.head.state_dict())
        self._head.eval()
        self._mean, self._std = float(classifier.target_mean), float(classifier.target_std)

    @torch.inference_mode()
    def __call__(self, pooled: np.ndarray) -> Scored:
        """Return probabilities and features of pooled vectors (N, P), float32."""
        rows = torch.from_numpy(np.ascontiguousarray(pooled)).double()
        outputs = self._head(rows)
        if self._objective == "regression":
            # Rounded before the mean is added: next to a large mean, small differences would be lost.
            found = outputs.float().double() * self._std + self._mean
        else:
            found = (outputs.softmax(1) if self._objective == "single-label" else outputs.sigmoid()).float()
        return Scored(found.numpy(), self._head.features(rows).float().numpy())
