"""Documents -> vectors. The promise: a vector depends on the document and the model, and on nothing else.

Documents are sorted by length and cut into micro-batches; each runs in short time windows that carry the hidden
state, and rows leave when their document ends. So no output of a real token ever depends on padding or on a
neighbour, a document of any length is encoded whole in constant memory, and a window's activations stay in cache
(whole sequences in large batches are slower, not faster). Windows have one fixed length, so that sums over time
are grouped alike whatever the company: on a CPU a vector is the same to the last bit alone and in any batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.model.pooling import Pool, pool_windows, pooled_width
from ulmfit_ray.model.retriever import Retriever

WINDOW = 32
"""Time steps per call."""
MAX_ROWS = 128
"""Documents per micro-batch."""
MAX_PADDED_TOKENS = 1 << 19
"""Tokens per micro-batch, padding included: 4 MiB of ids, however long the longest document is."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """A micro-batch, longest document first: ids (B, padded), lengths (B,)."""

    token_ids: Tensor
    num_tokens: Tensor


class Encoder:
    """Encodes numericalized documents with one model on one device, in float32.

    `pooling` None is the model's own. For a retriever it replaces the context block's weighted mean. `idf` are
    the vocabulary's pooling weights, which a language model needs for "idf-mean" (a retriever has its own).
    """

    def __init__(
        self,
        model: LanguageModel | Retriever,
        *,
        pooling: str,
        idf: np.ndarray | None = None,
        window: int = WINDOW,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self.model = model.eval()
        self.pooling = pooling
        self._window, self._max_rows = window, max_rows
        self._device = next(model.parameters()).device
        self._idf = None if idf is None else torch.from_numpy(idf).to(self._device)

    @property
    def dimension(self) -> int:
        """Return the width of the vectors."""
        if isinstance(self.model, LanguageModel):
            return pooled_width(self.pooling, self.model.architecture.embedding_dim)
        widths = self.model.block_widths()
        return sum(pooled_width(self.pooling, w) if name == "context" else w for name, w in widths.items())

    @torch.inference_mode()
    def encode(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 vectors (N, dimension) of documents given as token ids, in their order.

        Raises:
            ValueError: a document has no tokens (an empty text still has its xxbos).
        """
        lengths = np.array([len(document) for document in documents], dtype=np.int64)
        if (lengths == 0).any():
            raise ValueError(f"document {int(np.argmin(lengths))} has no tokens, not even xxbos")
        vectors = np.empty((len(documents), self.dimension), np.float32)
        # Stable, so that equal lengths keep their order; longest first, so that rows leave from the end.
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            chosen = order[start : start + max(1, min(self._max_rows, MAX_PADDED_TOKENS // longest))]
            start += len(chosen)
            batch = self._pad([documents[number] for number in chosen], lengths[chosen])
            vectors[chosen] = self._encode_batch(batch).cpu().numpy()
        return vectors

    def _pad(self, documents: list[np.ndarray], lengths: np.ndarray) -> _Batch:
        width = -(-int(lengths[0]) // self._window) * self._window
        ids = np.zeros((len(documents), width), np.int64)
        for row, document in zip(ids, documents, strict=True):
            row[: len(document)] = document
        return _Batch(torch.from_numpy(ids).to(self._device), torch.from_numpy(lengths).to(self._device))

    def _encode_batch(self, batch: _Batch) -> Tensor:
        ids, num_tokens, window = batch.token_ids, batch.num_tokens, self._window
        if isinstance(self.model, Retriever):
            blocks = self.model.blocks(ids, num_tokens, window=window, words_window=window, pooling=self.pooling)
            return self.model.join(blocks)
        weights = None
        if self.pooling == "idf-mean":
            assert self._idf is not None, "idf-mean needs the vocabulary's weights"
            weights = self._idf[ids]
        pool = Pool(self.pooling, len(ids), self.model.architecture.embedding_dim, self._device)
        outputs = self.model.encoder.windows(ids, num_tokens, window)
        return pool_windows(pool, outputs, num_tokens, window, weights)
