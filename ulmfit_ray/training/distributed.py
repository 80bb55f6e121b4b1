"""The few collectives that training needs; each works without a process group too (one worker).

"(all ranks)" in a docstring means that all workers must call the function at the same point.
"""

from collections.abc import Callable
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


def of_first_worker(value: str) -> str:
    """Return rank 0's value on every worker: what one of them decides holds for all (all ranks)."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def flag_of_first_worker(ask: Callable[[], bool], device: torch.device) -> bool:
    """Return rank 0's answer on every worker (all ranks); the others' is not asked for."""
    if world_size() == 1:
        return ask()
    flag = torch.tensor([rank() == 0 and ask()], dtype=torch.uint8, device=device)
    dist.broadcast(flag, 0)
    return bool(flag.item())


def sum_over_workers(values: list[float], device: torch.device) -> list[float]:
    """Return the sums of `values` over all workers (all ranks)."""
    total = torch.tensor(values, dtype=torch.float64, device=device)
    if world_size() > 1:
        dist.all_reduce(total)
    return total.tolist()


class _GatherRows(torch.autograd.Function):
    """Gather all workers' rows; the gradient of a worker's own rows is the sum of all workers' gradients for them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.own = slice(rank() * len(rows), (rank() + 1) * len(rows))
        return gather_dim(rows, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.own]


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows (B, D) of all workers as one tensor (G, D), in rank order, with gradient (all ranks)."""
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


def gather_dim(tensor: Tensor, dim: int) -> Tensor:
    """Return the workers' tensors joined along `dim`, without gradient (all ranks)."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts, dim)


def own_rows(global_size: int) -> slice:
    """Return which rows of a global batch are this worker's.

    Raises:
        ValueError: they cannot be shared out evenly.
    """
    if global_size % world_size():
        raise ValueError(f"global_batch_size ({global_size}) must be a multiple of num_workers ({world_size()})")
    size = global_size // world_size()
    return slice(rank() * size, (rank() + 1) * size)
