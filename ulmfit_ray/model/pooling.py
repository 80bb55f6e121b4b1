"""From a document's outputs to one vector: last, mean, weighted mean, max, and fastai's concat.

A pool is filled window by window, so a document of any length is pooled in constant memory, and a whole batch in
one call when training. The same code, differentiable, serves training and encoding.

B documents, T time steps, E width of an output.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class Pool:
    """Running last / sum / maximum over the real tokens of B documents; what `pooling` needs of these.

    With `last_tokens` the sum and the maximum are over so many of a document's last tokens.
    """

    def __init__(
        self,
        pooling: str,
        batch_size: int,
        width: int,
        device: torch.device | None = None,
        last_tokens: int | None = None,
    ) -> None:
        self._pooling, self._last_tokens = pooling, last_tokens
        self._needs = {
            "last": {"last"},
            "mean": {"sum"},
            "idf-mean": {"sum"},
            "max": {"max"},
            "concat": {"last", "max", "sum"},
        }[pooling]
        self._last = torch.zeros(batch_size, width, device=device)
        self._sum = torch.zeros(batch_size, width, device=device)
        self._weight = torch.zeros(batch_size, 1, device=device)
        self._max = torch.full((batch_size, width), -torch.inf, device=device)

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What was taken in so far: last (B, E), sum (B, E), weight (B, 1), maximum (B, E)."""
        return self._last, self._sum, self._weight, self._max

    @state.setter
    def state(self, values: Sequence[Tensor]) -> None:
        self._last, self._sum, self._weight, self._max = values

    def add(self, outputs: Tensor, num_tokens: Tensor, weights: Tensor | None = None) -> None:
        """Take in a window of the first B' documents: outputs (B', T, E).

        `num_tokens` (B',) are the tokens that each has from here on; a window that is longer is padded. `weights`
        (B', T) are the weights of the tokens in a weighted mean; padding is not counted.
        """
        rows = len(outputs)
        outputs = outputs.float()
        steps = torch.arange(outputs.shape[1], device=outputs.device)
        is_real = steps < num_tokens[:, None]
        if self._last_tokens is not None:
            is_real &= steps >= num_tokens[:, None] - self._last_tokens
        num_tokens = num_tokens.clamp(max=outputs.shape[1])
        if "sum" in self._needs:
            factors = is_real.float() if weights is None else weights * is_real
            self._sum = _add_rows(self._sum, _sum_over_time(outputs * factors[..., None]))
            self._weight = _add_rows(self._weight, _sum_over_time(factors[..., None]))
        if "max" in self._needs:
            largest = outputs.masked_fill(~is_real[..., None], -torch.inf).amax(1)
            self._max = torch.cat([torch.maximum(self._max[:rows], largest), self._max[rows:]])
        if "last" in self._needs:
            last = outputs[torch.arange(rows, device=outputs.device), num_tokens - 1]
            self._last = torch.cat([last, self._last[rows:]])

    def vectors(self) -> Tensor:
        """Return (B, E), or (B, 3E) for concat: [last, max, mean]."""
        parts = {"last": lambda: self._last, "max": lambda: self._max, "sum": lambda: self._sum / self._weight}
        if self._pooling == "concat":
            return torch.cat([parts[name]() for name in ("last", "max", "sum")], 1)
        return parts[next(iter(self._needs))]()


def _sum_over_time(values: Tensor) -> Tensor:
    """Return the sums (B, E) of `values` (B, T, E) over T, added half to half.

    The order in which torch's own sum adds depends on the memory layout, so the last bits of a document's sum would
    depend on the number of documents in the batch.
    """
    while (half := values.shape[1] // 2) > 0:
        sums = values[:, :half] + values[:, half : 2 * half]
        values = sums if values.shape[1] % 2 == 0 else torch.cat([sums, values[:, -1:]], 1)
    return values[:, 0]


def _add_rows(total: Tensor, part: Tensor) -> Tensor:
    """Return total with `part` added to its first rows; not in place, so that it can be differentiated."""
    return torch.cat([total[: len(part)] + part, total[len(part) :]])


def pool_windows(
    pool: Pool, windows: Iterable[Tensor], num_tokens: Tensor, window: int, weights: Tensor | None = None
) -> Tensor:
    """Return the vectors of documents whose outputs come in windows, longest document first; weights are (B, T).

    The last window may be shorter. It is filled up, so that sums are grouped in the same way in every batch.
    """
    for number, outputs in enumerate(windows):
        active, start = len(outputs), number * window
        own = None if weights is None else weights[:active, start : start + window]
        missing = window - outputs.shape[1]
        whole = F.pad(outputs, (0, 0, 0, missing)) if missing else outputs
        own = F.pad(own, (0, missing)) if missing and own is not None else own
        pool.add(whole, num_tokens[:active] - start, own)
    return pool.vectors()
