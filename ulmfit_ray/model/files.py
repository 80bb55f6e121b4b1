"""Weights on disk as safetensors, and the "model" part of config.json that says how to build what they fit.

safetensors is imported inside the functions: a bare GPU machine has torch and runs everything else here.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.retriever import Retriever

Model = LanguageModel | Retriever


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors to a safetensors file."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file onto the CPU."""
    from safetensors.torch import load_file

    return load_file(path)


def describe(model: Model, *, direction: str, pooling: str) -> dict[str, Any]:
    """Return the "model" part of config.json."""
    description: dict[str, Any] = {"format_version": 1, "direction": direction, "pooling": pooling}
    if isinstance(model, LanguageModel):
        architecture: Architecture | None = model.architecture
        description |= {"kind": "lm", "dimension": model.architecture.embedding_dim}
    else:
        architecture = model.encoder.architecture if model.encoder is not None else None
        widths = model.block_widths()
        starts = [sum(list(widths.values())[:number]) for number in range(len(widths))]
        description |= {
            "kind": "retriever",
            "dimension": sum(widths.values()),
            "word_dim": widths.get("words", 0),
            "num_words": len(model.log_weights),
            "blocks": [
                {"name": name, "start": start, "stop": start + widths[name]}
                for name, start in zip(widths, starts, strict=True)
            ],
        }
    if architecture is not None:
        description |= {
            "vocab_size": architecture.vocab_size,
            "num_rows": architecture.num_rows,
            "architecture": asdict(architecture),
        }
    return description


def build_model(description: dict[str, Any]) -> Model:
    """Return a new model of the described kind and shape; its weights are random.

    Raises:
        ValueError: the kind is not known to this version.
    """
    architecture = Architecture(**description["architecture"]) if "architecture" in description else None
    if description["kind"] == "lm":
        assert architecture is not None
        return LanguageModel(architecture)
    if description["kind"] == "retriever":
        names = [block["name"] for block in description["blocks"]]
        encoder = AWDLSTM(architecture) if architecture is not None else None
        return Retriever(names, vocab_size=description["num_words"], word_dim=description["word_dim"], encoder=encoder)
    raise ValueError(f"model kind {description['kind']!r} is not known to this version of ulmfit-ray")


def load_model(description: dict[str, Any], weights: Path, device: torch.device) -> Model:
    """Return the described model with its weights, on `device`, ready to encode."""
    model = build_model(description)
    model.load_state_dict(load_tensors(weights))
    return nn.Module.eval(model).to(device)
