"""Documents -> vectors. A vector depends on the document and the model, and on nothing else.

Documents are sorted by length and cut into micro-batches. A micro-batch runs in short time windows that carry the
hidden state, and a row leaves it when its document ends. So the output of a real token never depends on padding or on
another document, the activations need constant memory for documents of any length, and those of a window stay in the
CPU's cache (whole sequences in large batches are slower). All windows have the same length, so that sums over time
are grouped in the same way in every batch: on a CPU a vector is the same to the last bit alone and in any batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit_ray.encoding.micro_batches import MAX_ROWS, micro_batches, padded
from ulmfit_ray.model.kinds import VectorModel

WINDOW = 32
"""Time steps per call."""


class TokenEncoder:
    """Encodes documents given as token ids, with one model on one device, in float32.

    For a retriever `pooling` is that of the context block. `idf` (V,) are the vocabulary's pooling weights, which a
    language model needs for "idf-mean"; a retriever has its own.
    """

    def __init__(
        self,
        model: VectorModel,
        *,
        pooling: str,
        idf: np.ndarray | None = None,
        window: int = WINDOW,
        max_rows: int = MAX_ROWS,
    ) -> None:
        assert isinstance(model, nn.Module)
        self.model: VectorModel = model.eval()
        self.pooling = pooling
        self._window, self._max_rows = window, max_rows
        self._device = next(model.parameters()).device
        self._idf = None if idf is None else torch.from_numpy(idf).to(self._device)

    @property
    def dimension(self) -> int:
        """Return the width of the vectors."""
        return self.model.vector_width(self.pooling)

    @torch.inference_mode()
    def encode(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 vectors (N, dimension) of documents given as token ids, in their order.

        Raises:
            ValueError: a document has no tokens (an empty text still has its xxbos or xxeos).
        """
        lengths = np.array([len(document) for document in documents], dtype=np.int64)
        if (lengths == 0).any():
            raise ValueError(f"document {int(np.argmin(lengths))} has no tokens, not even xxbos")
        vectors = np.empty((len(documents), self.dimension), np.float32)
        for chosen in micro_batches(lengths, self._max_rows):
            ids, num_tokens = self._pad([documents[number] for number in chosen], lengths[chosen])
            batch = self.model.vectors(
                ids, num_tokens, pooling=self.pooling, window=self._window, idf=self._idf
            )  # (B, D)
            vectors[chosen] = batch.cpu().numpy()
        return vectors

    def _pad(self, documents: list[np.ndarray], lengths: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return ids (B, T) and lengths (B,) on the device; T is a whole number of windows."""
        width = -(-int(lengths[0]) // self._window) * self._window
        ids = torch.from_numpy(padded(documents, width))
        return ids.to(self._device), torch.from_numpy(lengths).to(self._device)
