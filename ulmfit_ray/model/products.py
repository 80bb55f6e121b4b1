"""Matrix products x @ weight.T for training, by oneDNN where that is faster than what torch would choose.

torch leaves float32 products on CPUs to MKL, which on AMD processors takes twice oneDNN's time, and packs a bfloat16
weight again for each product (benchmarks/train_lm.py).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def product_with(weight: Tensor, rows: int, bias: Tensor | None = None) -> Callable[..., Tensor]:
    """Return (x (R, K), addend (R, N) or nothing) -> x @ weight.T + bias + addend for a weight (N, K).

    The weight is packed for calls with R = `rows`, which pays from the first one on.
    """
    if not _has_onednn(weight):
        return lambda x, addend=None: _added(F.linear(x, weight, bias), addend)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    linear = torch.ops.mkldnn._linear_pointwise

    def apply(x: Tensor, addend: Tensor | None = None) -> Tensor:
        if addend is None:
            result: Tensor = linear(x, packed, bias, "none", [], "")
        else:
            result = linear.binary(x, addend, packed, bias, "add")
        return result

    return apply


def _added(x: Tensor, addend: Tensor | None) -> Tensor:
    # Adding a zero would copy the softmax's logits on a GPU.
    return x if addend is None else x + addend


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T for x (R, K) and a weight (N, K) that is used once."""
    if x.dtype is torch.float32 and _has_onednn(weight):
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return result
    return x @ weight.t()


def _has_onednn(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    if weight.dtype is torch.bfloat16:
        return onednn_has_bfloat16()
    return weight.dtype is torch.float32 and torch.backends.mkldnn.is_available()


def onednn_has_bfloat16() -> bool:
    """Tell whether oneDNN multiplies bfloat16 numbers on this processor (AVX-512 or later); elsewhere it raises."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
