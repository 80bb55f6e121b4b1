"""Tokens per second of language-model training, beside the same step written with torch's own layers. Without Ray.

    python benchmarks/train_lm.py [--vocab-size 14542 --global-batch-size 20 --bptt 50] [--output FILE.json]
    python benchmarks/train_lm.py --shape 400-1152-3 --vocab-size 60000 --global-batch-size 64 --bptt 72 --device cuda

The peer is what one writes first: torch.nn.LSTM, F.linear, F.cross_entropy, AdamW; in float32 and under autocast.
fastai's step does the same work. Ours is training.loop, in the precision that `auto` picks, and in float32. All take
turns in one process; the median of the rounds' ratios is what counts on a shared machine. With --keep-memory all run
under the allocator settings of training.memory, as the job does. Dropout is off, as in the peer, unless --dropout is
given. The matrix rate is that of a bfloat16 product of 4096^3 (8192^3 on a GPU), measured between the rounds.
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

STEPS_FOR_EVER = 1 << 20
Windows = Callable[[int], Iterator[np.ndarray]]


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


def plain_steps(architecture: Architecture, windows: Windows, precision: str, device: torch.device) -> Callable:
    """Return a function that trains for some steps."""
    model = PlainModel(architecture).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def run(steps: int) -> None:
        hidden = None
        for window in windows(steps):
            batch = torch.from_numpy(window).to(device)
            if hidden is None:
                zeros = [torch.zeros(1, len(batch), size, device=device) for _, size in architecture.layer_sizes()]
                hidden = [(h, torch.zeros_like(h)) for h in zeros]
            with autocast(precision, device):
                logits, hidden = model(batch[:, :-1], hidden)
                loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            hidden = detach_hidden(hidden)

    return run


def our_steps(
    architecture: Architecture, windows: Windows, precision: str, device: torch.device, steps: int
) -> Callable:
    """Return a function that trains for `steps` steps with the project's own loop, and goes on when called again."""
    size = len(next(windows(1)))
    config = LanguageModelTraining(
        num_epochs=1,
        global_batch_size=size,
        bptt=72,
        activation_reg=0,
        temporal_activation_reg=0,
        report_every_steps=steps,
    )
    task = LanguageModelTask(
        LanguageModel(architecture),
        config,
        train_windows=lambda epoch, first: windows(STEPS_FOR_EVER),
        steps_per_epoch=STEPS_FOR_EVER,
        valid_windows=None,
        seed=0,
        precision=precision,
        device=device,
    )
    reports = train(task, config)
    # The first step is reported by itself.
    while next(reports).step % steps:
        pass

    def run(_: int) -> None:
        next(reports)

    return run


def matrix_products(device: torch.device) -> tuple[Callable, float]:
    """Return a function that makes some bfloat16 products, and the GFLOP of one."""
    size = 4096 if device.type == "cpu" else 8192
    matrix = torch.randn(size, size, device=device).bfloat16()

    def run(count: int) -> None:
        for _ in range(count):
            matrix @ matrix

    return run, 2 * size**3 / 1e9


def gflop_per_token(architecture: Architecture) -> float:
    """Return what a token costs in training: three times the forward products of LSTM layers and softmax."""
    layers = sum(4 * hidden * (inputs + hidden) for inputs, hidden in architecture.layer_sizes())
    return 3 * 2 * (layers + architecture.vocab_size * architecture.embedding_dim) / 1e9


def seconds_of(run: Callable, count: int, device: torch.device) -> float:
    """Return the seconds of one of `count` steps."""
    began = time.perf_counter()
    run(count)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


def seconds_by_turns(
    ways: dict[str, Callable], rounds: int, steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of a step by way and round; a first round is left out."""
    found = [{name: seconds_of(run, steps, device) for name, run in ways.items()} for _ in range(rounds + 1)]
    return {name: [taken[name] for taken in found[1:]] for name in ways}


def ratio_by_rounds(theirs: list[float], ours: list[float]) -> float:
    """Return how many times as long theirs takes: the median over the rounds."""
    return round(statistics.median(one / other for one, other in zip(theirs, ours, strict=True)), 2)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="128-256-2", help="word vectors-LSTM width-layers")
    numbers = {"vocab-size": 14542, "global-batch-size": 20, "bptt": 50, "steps": 10, "rounds": 5}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep-memory", action="store_true")
    parser.add_argument("--dropout", action="store_true", help="ours with fastai's dropouts")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    if options.keep_memory and not KEEP_MEMORY.items() <= os.environ.items():
        # glibc reads these when a process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_MEMORY)
    torch.manual_seed(0)
    random, device = np.random.default_rng(0), torch.device(options.device)
    width, hidden, layers = map(int, options.shape.split("-"))
    architecture = Architecture(
        vocab_size=options.vocab_size, embedding_dim=width, hidden_size=hidden, num_layers=layers
    )
    plain = architecture.without_dropout()

    def windows(steps: int) -> Iterator[np.ndarray]:
        for _ in range(steps):
            yield random.integers(0, options.vocab_size, (options.global_batch_size, options.bptt + 1))

    precision = resolve_precision("auto", device)
    ours = architecture if options.dropout else plain
    products, gflop = matrix_products(device)
    ways = {
        **{f"plain {name}": plain_steps(plain, windows, name, device) for name in ("float32", precision)},
        **{f"ours {name}": our_steps(ours, windows, name, device, options.steps) for name in (precision, "float32")},
        "matrix product": products,
    }
    seconds = seconds_by_turns(ways, options.rounds, options.steps, device)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    matrix_rate = gflop / medians.pop("matrix product")
    tokens = options.global_batch_size * options.bptt
    rate = gflop_per_token(architecture) * tokens / medians[f"ours {precision}"]
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "shape": options.shape,
        "vocab_size": options.vocab_size,
        "tokens_per_step": tokens,
        "dropout": options.dropout,
        "keep_memory": options.keep_memory,
        "threads": torch.get_num_threads(),
        "milliseconds_per_step": {name: round(1000 * value, 1) for name, value in medians.items()},
        "tokens_per_second": {name: round(tokens / value) for name, value in medians.items()},
        "times_as_fast_as": {
            own: {name: ratio_by_rounds(times, seconds[own]) for name, times in seconds.items() if "plain" in name}
            for own in seconds
            if "ours" in own
        },
        "matrix_rate_gflops": round(matrix_rate),
        "share_of_matrix_rate": round(rate / matrix_rate, 3),
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
