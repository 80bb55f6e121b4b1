"""Documents -> vectors. A vector depends on the document and the model, and on nothing else.

Documents are sorted by length and cut into micro-batches. A micro-batch runs in short time windows that carry the
hidden state, and a row leaves it when its document ends. So the output of a real token never depends on padding or on
another document, the activations need constant memory for documents of any length, and those of a window stay in the
CPU's cache (whole sequences in large batches are slower). All windows have the same length, so that sums over time
are grouped in the same way in every batch: on a CPU a vector is the same to the last bit alone and in any batch.

On a CPU each core has micro-batches of its own. Cores that share the matrix products of one wait for the slowest at
every product, and wherever something else wants a core for a moment, all of them wait (benchmarks/encode_job.py).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

from ulmfit_ray.encoding.engine import CPU_ROWS, GPU_ROWS, Engine, whole_float32
from ulmfit_ray.encoding.micro_batches import micro_batches, padded
from ulmfit_ray.model.description import Reading
from ulmfit_ray.model.kinds import VectorModel

BATCHES_PER_THREAD, LEAST_ROWS = 4, 64
"""Micro-batches are made smaller, to so many documents at the least, until each thread has a few: the last to finish
keeps the others waiting."""
TIME_STEP = 8
"""The last window's length is a multiple of it: see ROWS_STEP."""


class TokenEncoder:
    """Encodes documents given as token ids, with one model on one device.

    For a retriever `reading` is that of the context block. `idf` (V,) are the vocabulary's pooling weights, which a
    language model needs for "idf-mean"; a retriever has its own. `max_rows` is how many documents run together; it is
    halved when they do not fit into the device's memory.
    """

    def __init__(
        self,
        model: VectorModel,
        reading: Reading,
        *,
        idf: np.ndarray | None = None,
        window: int | None = None,
        max_rows: int | None = None,
    ) -> None:
        assert isinstance(model, nn.Module)
        self.model: VectorModel = model.eval()
        self.reading = reading
        self._device = next(model.parameters()).device
        self.max_rows = max_rows or (GPU_ROWS if self._device.type == "cuda" else CPU_ROWS)
        self._idf = None if idf is None else torch.from_numpy(idf).to(self._device)
        self._engine = None if model.backbone is None else Engine(model.backbone, reading, window)

    @property
    def dimension(self) -> int:
        """Return the width of the vectors."""
        return self.model.vector_width(self.reading)

    @torch.inference_mode()
    def encode(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 vectors (N, dimension) of documents given as token ids, in their order.

        Documents with the same tokens are encoded once.

        Raises:
            ValueError: a document has no tokens (an empty text still has its xxbos or xxeos).
        """
        lengths = np.array([len(document) for document in documents], dtype=np.int64)
        if (lengths == 0).any():
            raise ValueError(f"document {int(np.argmin(lengths))} has no tokens, not even xxbos")
        first, twins = distinct(documents)
        vectors = np.empty((len(documents), self.dimension), np.float32)

        def fill(chosen: np.ndarray) -> None:
            numbers = first[chosen]
            vectors[numbers] = self._vectors([documents[number] for number in numbers], lengths[numbers])

        num_threads = torch.get_num_threads()
        if self._device.type == "cpu" and num_threads > 1 and len(first) > LEAST_ROWS:
            rows = max(LEAST_ROWS, len(first) // (BATCHES_PER_THREAD * num_threads))
            batches = micro_batches(lengths[first], lambda: min(self.max_rows, rows))
            _side_by_side(fill, batches, num_threads)
        else:
            for chosen in micro_batches(lengths[first], lambda: self.max_rows):
                fill(chosen)
        return vectors[twins] if len(first) < len(documents) else vectors

    def _vectors(self, documents: list[np.ndarray], lengths: np.ndarray) -> np.ndarray:
        """Return the vectors of a micro-batch, longest document first; in halves if the memory is too small for it."""
        try:
            ids, num_tokens = self._pad(documents, lengths)
            with whole_float32(self._device):
                found = self.model.vectors(ids, num_tokens, self.reading, idf=self._idf, runner=self._engine)  # (B, D)
            return found.cpu().numpy()
        except torch.OutOfMemoryError:
            if len(documents) == 1:
                raise
        # Out of the handler, which would keep the tensors of the failed call alive.
        half = len(documents) // 2
        if half < self.max_rows:
            self.max_rows = half
            print(f"out of memory with {len(documents)} documents at once: {half} from now on", flush=True)
        parts = (slice(0, half), slice(half, None))
        return np.concatenate([self._vectors(documents[part], lengths[part]) for part in parts])

    def _pad(self, documents: list[np.ndarray], lengths: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return ids (B, T) and lengths (B,) on the device; T is that of the longest, made a multiple of TIME_STEP."""
        ids = torch.from_numpy(padded(documents, -(-int(lengths[0]) // TIME_STEP) * TIME_STEP))
        if self._device.type == "cuda":
            ids = ids.pin_memory()
        return ids.to(self._device, non_blocking=True), torch.from_numpy(lengths).to(self._device)


def _side_by_side(fill: Callable[[np.ndarray], None], batches: Iterable[np.ndarray], num_threads: int) -> None:
    """Call `fill` with each of the batches, in several threads of one core each."""
    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        # Inference mode is a thread's own.
        for _ in pool.map(torch.inference_mode()(fill), batches):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
        # A part of torch takes what any thread has set as the number for all.
        torch.set_num_threads(num_threads)


def distinct(documents: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the first documents of each content, and for each document the number of its first twin."""
    seen: dict[tuple[str, bytes], int] = {}
    twins = np.fromiter(
        (
            seen.setdefault((document.dtype.str, document.tobytes()), number)
            for number, document in enumerate(documents)
        ),
        np.int64,
        len(documents),
    )
    return np.flatnonzero(twins == np.arange(len(documents))), twins
