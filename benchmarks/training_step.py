"""Milliseconds of a training step, part by part, beside the same step written with torch's own layers.

    python benchmarks/training_step.py [--vocab-size 14542 --global-batch-size 20 --bptt 50] [--output FILE.json]

The peer is what one writes first: torch.nn.LSTM, F.linear, F.cross_entropy, AdamW; in float32 and under bfloat16
autocast. Ours is training.loop in the precision that `auto` picks, and in float32. All take turns in one process; the
ratio of the medians is what counts on a shared machine. With --keep-memory all run under the allocator settings of
training.memory, as the job does. Runs without Ray.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from reporting import report
from torch import nn

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel, detach_hidden
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.loop import train
from ulmfit_ray.training.memory import KEEP_MEMORY
from ulmfit_ray.training.precision import autocast, resolve_precision
from ulmfit_ray.training.tasks.language_model import LanguageModelTask

CPU = torch.device("cpu")


class PlainModel(nn.Module):
    """The same network from torch's own parts."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.embedding = nn.Embedding(architecture.vocab_size, architecture.embedding_dim)
        self.layers = nn.ModuleList(nn.LSTM(*sizes, batch_first=True) for sizes in architecture.layer_sizes())
        self.bias = nn.Parameter(torch.zeros(architecture.vocab_size))

    def forward(self, token_ids: torch.Tensor, hidden: list) -> tuple[torch.Tensor, list]:
        """Return logits and the new state."""
        x, states = self.embedding(token_ids), []
        for layer, state in zip(self.layers, hidden, strict=True):
            x, new_state = layer(x, state)
            states.append(new_state)
        return F.linear(x, self.embedding.weight, self.bias), states


def plain_steps(architecture: Architecture, windows: Callable[[int], Iterator[np.ndarray]], precision: str) -> Callable:
    """Return a function that trains for some steps."""
    model = PlainModel(architecture)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def run(steps: int) -> None:
        hidden = None
        for window in windows(steps):
            batch = torch.from_numpy(window).long()
            if hidden is None:
                zeros = [torch.zeros(1, len(batch), size) for _, size in architecture.layer_sizes()]
                hidden = [(h, torch.zeros_like(h)) for h in zeros]
            with autocast(precision, CPU):
                logits, hidden = model(batch[:, :-1], hidden)
                loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            hidden = detach_hidden(hidden)

    return run


def our_steps(architecture: Architecture, windows: Callable[[int], Iterator[np.ndarray]], precision: str) -> Callable:
    """Return a function that trains for some steps with the project's own loop."""
    model = LanguageModel(architecture)

    def run(steps: int) -> None:
        size = len(next(windows(1)))
        config = LanguageModelTraining(
            num_epochs=1, global_batch_size=size, bptt=72, activation_reg=0, temporal_activation_reg=0
        )
        task = LanguageModelTask(
            model,
            config,
            train_windows=lambda epoch, first: windows(steps),
            steps_per_epoch=steps,
            valid_windows=None,
            seed=0,
            precision=precision,
            device=CPU,
        )
        for _ in train(task, config):
            pass

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"vocab-size": 14542, "embedding-dim": 128, "hidden-size": 256, "num-layers": 2}
    for name, default in (sizes | {"global-batch-size": 20, "bptt": 50, "steps": 10, "rounds": 5}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep-memory", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.keep_memory and not KEEP_MEMORY.items() <= os.environ.items():
        # glibc reads these when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    shape = {name.replace("-", "_"): getattr(options, name.replace("-", "_")) for name in sizes}
    architecture = Architecture(**shape).without_dropout()

    def windows(steps: int) -> Iterator[np.ndarray]:
        for _ in range(steps):
            yield random.integers(0, options.vocab_size, (options.global_batch_size, options.bptt + 1))

    precision = resolve_precision("auto", CPU)
    ways = {
        "plain float32": plain_steps(architecture, windows, "float32"),
        f"plain {precision}": plain_steps(architecture, windows, precision),
        f"ours {precision}": our_steps(architecture, windows, precision),
        "ours float32": our_steps(architecture, windows, "float32"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run(options.steps)
            if number:
                seconds[name].append((time.perf_counter() - began) / options.steps)
    medians = {name: 1000 * statistics.median(times) for name, times in seconds.items()}
    result = {
        **shape,
        "tokens_per_step": options.global_batch_size * options.bptt,
        "keep_memory": options.keep_memory,
        "threads": torch.get_num_threads(),
        "milliseconds_per_step": {name: round(value, 1) for name, value in medians.items()},
        "times_as_fast_as": {
            ours: {name: round(value / medians[ours], 2) for name, value in medians.items() if name.startswith("plain")}
            for ours in medians
            if ours.startswith("ours")
        },
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
