"""fastai's classifier heads: their weights under our names, and back.

A file has batch norms and linear layers under `1.layers`: version 2 in `{block}.0` and `{block}.2`, version 1 in one
row, `0, 2, 4, 6`, version 0.7 in `{block}.bn` and `{block}.lin`. The numbers shift where a dropout of 0 was left out,
so only the order counts: norm, linear, norm, linear. Linear layers of 1 and 0.7 have biases, those of 2 have none.

P width of a pooled vector, C outputs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ulmfit_ray.model.classifier import Classifier
from ulmfit_ray.model.description import ClassifierHead

FRONT = "1.layers."
TENSOR = re.compile(r"1\.layers\.(\d+)(?:\.(\d+|bn|lin))?\.(\w+)")
NOT_KNOWN = "its head is not that of a fastai classifier"
IN_VERSION_07 = {"bn": 0, "lin": 1}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
Module = dict[str, Tensor]
"""The tensors of a batch norm or of a linear layer by torch's names."""


@dataclass(frozen=True, slots=True)
class FastaiHead:
    """A head as fastai saved it."""

    sizes: tuple[int, ...]
    """P, the widths of the linear layers, C."""
    has_bias: bool
    tensors: dict[str, Tensor]
    """By our names: see model.classifier.Head."""


def read_head(content: Mapping[str, Tensor], pooled: int) -> FastaiHead | None:
    """Return the head among a file's tensors, None if there is none; `pooled` is P.

    Raises:
        ValueError: it is not one of fastai's `PoolingLinearClassifier`.
    """
    modules: dict[tuple[int, int], dict[str, Tensor]] = {}
    for name in content:
        if not name.startswith(FRONT):
            continue
        found = TENSOR.fullmatch(name)
        if found is None:
            raise ValueError(f"{NOT_KNOWN}: there is {name} in it")
        number, inner, tensor = found.groups()
        place = int(number), IN_VERSION_07[inner] if inner in IN_VERSION_07 else int(inner or 0)
        modules.setdefault(place, {})[tensor] = content[name]
    if not modules:
        return None
    ordered = [modules[place] for place in sorted(modules)]
    norms, linears = ordered[::2], ordered[1::2]
    if len(norms) != len(linears) or not all(map(_is_norm, norms)) or not all(map(_is_linear, linears)):
        raise ValueError(f"{NOT_KNOWN}: {FRONT}* are not batch norm and linear layer by turns")
    return FastaiHead(_sizes(norms, linears, pooled), _has_bias(linears), _named(norms, linears))


def _is_norm(module: Module) -> bool:
    # torch counts the batches since 0.4.1: older files have no such number.
    return set(module) | {"num_batches_tracked"} == set(NORM)


def _is_linear(module: Module) -> bool:
    return set(module) | {"bias"} == {"weight", "bias"} and module["weight"].dim() == 2


def _sizes(norms: list[Module], linears: list[Module], pooled: int) -> tuple[int, ...]:
    """Return P, the widths, C; raise ValueError if a layer does not fit the one in front of it."""
    sizes = (pooled, *(len(linear["weight"]) for linear in linears))
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        norm = {tuple(value.shape) for name, value in norms[number].items() if name != "num_batches_tracked"}
        linear = {name: tuple(value.shape) for name, value in linears[number].items()}
        if norm != {(inputs,)} or linear["weight"] != (outputs, inputs) or linear.get("bias", (outputs,)) != (outputs,):
            raise ValueError(
                f"{NOT_KNOWN}: {inputs} numbers come into its block {number}, whose batch norm has shapes"
                f" {sorted(norm)} and whose linear layer {sorted(linear.values())}"
            )
    return sizes


def _has_bias(linears: list[Module]) -> bool:
    biases = {"bias" in linear for linear in linears}
    if len(biases) > 1:
        raise ValueError(f"{NOT_KNOWN}: some of its linear layers have biases, some not")
    return biases.pop()


def _named(norms: list[Module], linears: list[Module]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for number, (norm, linear) in enumerate(zip(norms, linears, strict=True)):
        counted = {"num_batches_tracked": torch.zeros((), dtype=torch.int64)} | norm
        tensors |= {
            f"blocks.{number}.norm.{name}": value.float() if value.is_floating_point() else value
            for name, value in counted.items()
        }
        tensors |= {f"blocks.{number}.linear.{name}": value.float() for name, value in linear.items()}
    return tensors


def fastai_head_state(classifier: Classifier) -> dict[str, Tensor]:
    """Return a classifier's head under the names, and in the order, of fastai 2.

    fastai has no place for the mean and the deviation of a regression's target: they are put into the last block, so
    that its output is the number itself.

    Raises:
        ValueError: fastai 2 has no such head.
    """
    _check(classifier.description)
    last = len(classifier.head.blocks) - 1
    state: dict[str, Tensor] = {}
    for number, block in enumerate(classifier.head.blocks):
        tensors = {name: value.detach() for name, value in block.state_dict().items()}
        if number == last and classifier.description.objective == "regression":
            tensors |= _in_units(tensors, float(classifier.target_mean), float(classifier.target_std))
        state |= {f"{FRONT}{number}.0.{name}": tensors[f"norm.{name}"] for name in NORM}
        # Between the two lies a dropout, which has no weights.
        state[f"{FRONT}{number}.2.weight"] = tensors["linear.weight"]
    return state


def _check(head: ClassifierHead) -> None:
    """Raise ValueError if fastai 2 has no such head."""
    if head.norm != "batch":
        norm = "no norm" if head.norm == "none" else f"{head.norm} norm"
        raise ValueError(f"its head has {norm}, and a head of fastai 2 has batch norm")
    if head.has_bias:
        raise ValueError("the linear layers of its head have biases, and those of fastai 2 have none")


def _in_units(block: dict[str, Tensor], mean: float, std: float) -> dict[str, Tensor]:
    """Return what changes in a regression's last block so that it gives output * std + mean.

    Its linear layer has no bias: that of the batch norm in front moves along the layer's row w by mean / |w|^2, which
    the layer turns into the mean.
    """
    if (mean, std) == (0, 1):
        return {}
    weight = block["linear.weight"].double() * std  # (1, inputs)
    bias = block["norm.bias"] + mean * weight[0] / weight.square().sum()
    return {"linear.weight": weight.float(), "norm.bias": bias.float()}
