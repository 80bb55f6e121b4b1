"""Which number format training computes in."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return the format; auto is bfloat16 where the hardware has it, else float16 on a GPU, else float32.

    bfloat16 takes about half the time of float32 on a CPU with AVX512-BF16.

    Raises:
        ValueError: the device cannot train in that format.
    """
    if wanted == "float16" and device.type == "cpu":
        raise ValueError("--precision float16 is for GPUs: processors have bfloat16, or float32")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if features.get("avx512_bf16") or features.get("amx_bf16") else "float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which forward passes run."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, getattr(torch, precision))
