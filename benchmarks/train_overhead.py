"""What Ray Train costs: the whole `pretrain` command beside the same loop in a plain process, by turns.

    python benchmarks/train_overhead.py [--steps 200] [--rounds 1] [--output FILE.json]

One epoch of so many steps of 64 x 72 tokens with the model 400-1152-3 and 60,000 words, on a text of random words.
Both read the same token dataset, report every 20 steps, and write the state at the end; the command also starts Ray
and writes the model directory. 200 steps take about seven minutes on two cores.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from reporting import report

from ulmfit_ray.training.memory import KEEP_MEMORY

WORDS, COLUMNS, BPTT = 60_000, 64, 72
WITHOUT_RAY = """
import sys
from pathlib import Path
import torch
from ulmfit_ray.model.files import save_tensors
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.pipelines.train.language_model import make_task
from ulmfit_ray.pipelines.train.pretrain import start_of
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.loop import train
from dataclasses import replace

training = LanguageModelTraining(num_epochs=1, global_batch_size=64, bptt=72)
config = PretrainConfig(tokens=sys.argv[1], output=sys.argv[2], valid_fraction=0.0, training=training)
start = start_of(config)
task, _ = make_task(
    torch.device("cpu"), None, config=config, start=start, architecture=replace(start.architecture, vocab_size=60_000)
)
for report in train(task, training):
    if report.state is not None:
        save_tensors(report.state, Path(sys.argv[2]))
"""


def seconds_of(command: list[str], **options: Any) -> float:
    """Run a command and return its seconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, **options)
    return time.perf_counter() - began


def random_text(steps: int, path: Path) -> None:
    """Write a line of random words for every 1,000 tokens that so many steps need, every word of all at least once."""
    random = np.random.default_rng(0)
    # Every token but the last has a next one; each line has xxbos in front.
    needed = steps * COLUMNS * BPTT + 1
    lines = -(-needed // 1000)
    words = np.concatenate([np.arange(WORDS), random.integers(0, WORDS, lines * 999)])[: lines * 999]
    path.write_text("\n".join(" ".join(f"w{word}" for word in part) for part in np.split(words, lines)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    ours = [sys.executable, "-m", "ulmfit_ray.cli"]
    seconds: dict[str, list[float]] = {"without Ray": [], "with Ray": []}
    with tempfile.TemporaryDirectory() as work:
        text, tokens = Path(work, "text.txt"), str(Path(work, "tokens"))
        random_text(options.steps, text)
        kind = ["--tokenizer.kind", "whitespace", "--format", "lines", "--min-freq", "1"]
        seconds_of([*ours, "tokenize", "--input", str(text), "--output", tokens, *kind])
        for number in range(options.rounds):
            plain = [sys.executable, "-c", WITHOUT_RAY, tokens, str(Path(work, f"state-{number}"))]
            seconds["without Ray"].append(seconds_of(plain, env=os.environ | KEEP_MEMORY))
            size = ["--training.num-epochs", "1", "--training.global-batch-size", "64", "--training.bptt", "72"]
            place = ["--tokens", tokens, "--valid-fraction", "0", "--output", str(Path(work, f"lm-{number}"))]
            seconds["with Ray"].append(seconds_of([*ours, "pretrain", *place, *size]))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result = {
        "steps": options.steps,
        "seconds": {name: [round(value, 1) for value in times] for name, times in seconds.items()},
        "overhead": round(medians["with Ray"] / medians["without Ray"] - 1, 4),
    }
    report(result, options.output)


if __name__ == "__main__":
    main()
