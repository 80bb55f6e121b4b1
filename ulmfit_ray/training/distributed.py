"""The few collectives that training needs; each works without a process group too (one worker).

"(all ranks)" in a docstring means that all workers must call the function at the same point.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise, starmap
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def rank() -> int:
    """Return this worker's number."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of workers."""
    return dist.get_world_size() if dist.is_initialized() else 1


def data_parallel(model: nn.Module) -> nn.Module:
    """Return the model wrapped so that gradients are averaged over all workers (all ranks)."""
    if world_size() == 1:
        return model
    device_ids = None if next(model.parameters()).device.type == "cpu" else [torch.cuda.current_device()]
    return DistributedDataParallel(model, device_ids=device_ids, gradient_as_bucket_view=True)


def gradients_kept_apart(model: nn.Module, apart: bool) -> AbstractContextManager[None]:
    """Return the context of a backward pass whose gradients are not averaged over the workers yet, if `apart`."""
    if not apart or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    context: AbstractContextManager[None] = model.no_sync()
    return context


def of_first_worker(value: str) -> str:
    """Return rank 0's value on every worker: what one of them decides holds for all (all ranks)."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def answer_of_first_worker(ask: Callable[[], int], device: torch.device) -> int:
    """Return rank 0's answer, 0 to 255, on every worker (all ranks); the others' is not asked for."""
    if world_size() == 1:
        return ask()
    answer = torch.tensor([ask() if rank() == 0 else 0], dtype=torch.uint8, device=device)
    dist.broadcast(answer, 0)
    return int(answer.item())


def sum_over_workers(values: list[float], device: torch.device) -> list[float]:
    """Return the sums of `values` over all workers (all ranks)."""
    total = torch.tensor(values, dtype=torch.float64, device=device)
    if world_size() > 1:
        dist.all_reduce(total)
    return total.tolist()


def shares(global_size: int) -> list[slice]:
    """Return which rows of a global batch each worker owns: blocks in rank order, whose sizes differ by at most one.

    Raises:
        ValueError: there are fewer rows than workers.
    """
    if global_size < world_size():
        raise ValueError(f"global_batch_size ({global_size}) must be at least num_workers ({world_size()})")
    return pieces_of(slice(0, global_size), world_size())


def own_rows(global_size: int) -> slice:
    """Return which rows of a global batch are this worker's.

    Raises:
        ValueError: there are fewer rows than workers.
    """
    return shares(global_size)[rank()]


def pieces_of(rows: slice, count: int) -> list[slice]:
    """Return `rows` in `count` blocks whose sizes differ by at most one.

    Raises:
        ValueError: there are fewer rows than blocks.
    """
    size = rows.stop - rows.start
    if size < count:
        raise ValueError(f"--training.accumulation-steps {count}: a worker has {size} rows of the batch")
    bounds = [rows.start + size * number // count for number in range(count + 1)]
    return list(starmap(slice, pairwise(bounds)))


def weight_of(rows: slice, global_size: int) -> float:
    """Return by what a mean over `rows` is multiplied, so that the workers' average of sums is the mean of all rows.

    It is 1 if all workers have equally many rows and `rows` are all of one.
    """
    return (rows.stop - rows.start) * world_size() / global_size


def own_share(global_size: int) -> slice:
    """Return which rows of a global batch are this worker's where they are dealt out one by one: every N-th.

    Documents that come longest first are so shared out by length, too.

    Raises:
        ValueError: there are fewer rows than workers.
    """
    shares(global_size)
    return slice(rank(), global_size, world_size())


class _GatherRows(torch.autograd.Function):
    """Gather all workers' rows; the gradient of a worker's own rows is the sum of all workers' gradients for them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, global_size: int) -> Tensor:
        ctx.own = own_share(global_size)
        return _dealt_together(rows, global_size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.own], None


def _dealt_together(rows: Tensor, global_size: int) -> Tensor:
    most = -(-global_size // world_size())
    # A collective wants equal shapes: who has a row less sends one that is cut off again.
    own = torch.cat([rows, rows[: most - len(rows)]]).contiguous()
    parts = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(parts, own)
    return torch.stack(parts, 1).flatten(0, 1)[:global_size]


def gather_rows(rows: Tensor, global_size: int) -> Tensor:
    """Return the rows (B, D) of all workers as one tensor (global_size, D), in their order, with gradient (all ranks).

    Each worker gives its `own_share` of a global batch.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows, global_size)
    return gathered


def gather_dim(tensor: Tensor, dim: int, global_size: int) -> Tensor:
    """Return the workers' tensors joined along `dim`, of `global_size` in all, without gradient (all ranks)."""
    if world_size() == 1:
        return tensor
    sizes = [rows.stop - rows.start for rows in shares(global_size)]
    # A collective wants equal shapes: who has a row less sends one that is cut off again.
    own = tensor.detach()
    missing = max(sizes) - own.shape[dim]
    own = torch.cat([own, own.narrow(dim, 0, missing)], dim).contiguous()
    parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in sizes]
    dist.all_gather(parts, own)
    return torch.cat([part.narrow(dim, 0, size) for part, size in zip(parts, sizes, strict=True)], dim)
