"""The five dropouts of AWD-LSTM as explicit masks, which are passed to the model: no module holds random state.

A mask depends on a seed and on the size of the *global* batch. A worker draws the whole mask and keeps its own rows,
so the number of workers changes nothing. The masks are those of Merity et al. (2017) as fastai implements them.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ulmfit_ray.model.architecture import Architecture


@dataclass(frozen=True, slots=True)
class DropoutMasks:
    """Factors that are 0 or 1/(1-p); None where a dropout is off. B rows, E embedding, H hidden, V vocabulary."""

    embedding: Tensor | None = None
    """(V, 1): drops whole words, on the look-up only; the tied decoder sees the full matrix."""
    input: Tensor | None = None
    """(B, 1, E): the same at every time step ("variational"), like the two below."""
    hidden: tuple[Tensor | None, ...] = ()
    """Per gap between layers (B, 1, H): none after the last layer."""
    output: Tensor | None = None
    """(B, 1, E): in front of the decoder."""
    weight: tuple[Tensor | None, ...] = ()
    """Per layer (4H, H): DropConnect on the recurrent weights, one mask for all rows and steps."""

    def rows(self, chosen: slice | Tensor) -> "DropoutMasks":
        """Return the same with only some rows of the batch, or its rows in another order."""
        return replace(
            self,
            input=None if self.input is None else self.input[chosen],
            hidden=tuple(None if mask is None else mask[chosen] for mask in self.hidden),
            output=None if self.output is None else self.output[chosen],
        )


NO_DROPOUT = DropoutMasks()


def keep_mask(shape: tuple[int, ...], probability: float, generator: torch.Generator) -> Tensor | None:
    """Return a mask of zeros (with `probability`, to 1/65536) and 1/(1-p), or None when nothing is dropped."""
    if probability == 0:
        return None
    # Sixteen random bits for each factor: torch draws them ten times as fast as Bernoulli numbers.
    words = torch.empty(-(-math.prod(shape) // 4), dtype=torch.int64, device=generator.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)
    dropped = round(probability * 2**16)
    keep = bits[: math.prod(shape)].view(shape) >= dropped - 2**15
    return keep.float().div_(1 - dropped / 2**16)


def draw_masks(
    architecture: Architecture, *, seed: int, global_batch_size: int, rows: slice, device: torch.device
) -> DropoutMasks:
    """Return the masks of one step for `rows` of the global batch; all ranks draw the same numbers.

    They are drawn on the device itself: to draw the weights' on the CPU and copy them would take a GPU longer than the
    step. So runs with dropout on two kinds of device cannot be compared number by number.
    """
    generator = torch.Generator(device).manual_seed(seed)
    p = architecture.scaled_dropouts()
    sizes = architecture.layer_sizes()

    def per_row(width: int, probability: float) -> Tensor | None:
        mask = keep_mask((global_batch_size, 1, width), probability, generator)
        return None if mask is None else mask[rows]

    return DropoutMasks(
        embedding=keep_mask((architecture.num_rows, 1), p.embedding_dropout, generator),
        input=per_row(architecture.embedding_dim, p.input_dropout),
        hidden=tuple(per_row(hidden, p.hidden_dropout) for _, hidden in sizes[:-1]),
        output=per_row(sizes[-1][1], p.output_dropout),
        weight=tuple(keep_mask((4 * hidden, hidden), p.weight_dropout, generator) for _, hidden in sizes),
    )
