"""Weights on disk as safetensors.

safetensors is imported inside the functions, so that other code of this package runs where only torch is installed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ulmfit_ray.model.description import ModelDescription
from ulmfit_ray.model.kinds import build_model


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies on the CPU, which share no memory with the given tensors or with each other."""
    packed = torch.contiguous_format
    return {name: value.detach().to("cpu", copy=True, memory_format=packed) for name, value in tensors.items()}


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors, whatever memory they share, to a safetensors file."""
    save_copies(copied(tensors), path)


def save_copies(copies: dict[str, Tensor], path: Path) -> None:
    """Write what `copied` returned to a safetensors file, without another copy."""
    from safetensors.torch import save_file

    save_file(copies, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file onto the CPU."""
    from safetensors.torch import load_file

    return load_file(path)


def load_model(description: ModelDescription, weights: Path, device: torch.device) -> Any:
    """Return the described model (see model.kinds) with its weights, on `device`, ready to encode."""
    model = build_model(description)
    model.load_state_dict(load_tensors(weights))
    return model.eval().to(device)
