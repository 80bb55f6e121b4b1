"""Train the same tasks with one worker and with two, in processes of their own: python two_workers.py RANK FOLDER.

Each rank first trains half of the tasks alone, then both train all of them together over gloo, then rank 0 goes on
alone from a checkpoint of the two. Figures are left in FOLDER/results-RANK.json, states in FOLDER/*.safetensors.
"""

import itertools
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.files import copied, load_tensors, save_tensors
from ulmfit_ray.model.retriever import Retriever
from ulmfit_ray.training.config import LanguageModelTraining, RetrieverTraining, TrainingConfig
from ulmfit_ray.training.distributed import gather_dim, gather_rows, own_rows, sum_over_workers
from ulmfit_ray.training.loop import train
from ulmfit_ray.training.task import Task
from ulmfit_ray.training.tasks.language_model import LanguageModelTask
from ulmfit_ray.training.tasks.retriever import RetrieverTask

ROWS, STEPS_PER_EPOCH, NUM_WORDS, STOP = 7, 25, 30, 30
# Seven rows cannot be shared out evenly.
STOPS = tuple(sorted(random.Random(5).sample(range(1, 49), 3)))
"""Steps after which a run of two workers is stopped and gone on with."""

SHAPE = Architecture(vocab_size=NUM_WORDS, embedding_dim=8, hidden_size=12, num_layers=2)
DROPPING = SHAPE.without_dropout(
    embedding_dropout=0.1, input_dropout=0.2, hidden_dropout=0.2, output_dropout=0.2, weight_dropout=0.3
)
STEPS = {"num_epochs": 2, "global_batch_size": ROWS, "checkpoint_every_steps": STOP, "report_every_steps": 1}


def language_model_task(shape: Architecture) -> tuple[Task, TrainingConfig]:
    training = LanguageModelTraining(**STEPS, bptt=6, learning_rate=5e-3)
    rows = own_rows(ROWS)

    def windows(epoch: int, first: int) -> Iterator[np.ndarray]:
        columns = np.random.default_rng(epoch).integers(0, NUM_WORDS, (ROWS, STEPS_PER_EPOCH * 6 + 1))[rows]
        for step in range(first, STEPS_PER_EPOCH):
            yield columns[:, step * 6 : (step + 1) * 6 + 1]

    torch.manual_seed(0)
    task = LanguageModelTask(
        LanguageModel(shape),
        training,
        train_windows=windows,
        steps_per_epoch=STEPS_PER_EPOCH,
        valid_windows=lambda _epoch, _first: windows(7, 20),
        seed=3,
        precision="float32",
        device=torch.device("cpu"),
    )
    return task, training


def retriever_task(dropout: float) -> tuple[Task, TrainingConfig]:
    training = RetrieverTraining(**STEPS, dropout=dropout, learning_rate=3e-3, temperature=0.2)
    rows = own_rows(ROWS)

    def batches(epoch: int, first: int) -> Iterator[SimpleNamespace]:
        for step in range(first, STEPS_PER_EPOCH):
            random = np.random.default_rng([epoch, step])
            keys = np.stack([random.integers(0, 12, ROWS), random.integers(20, 32, ROWS)], 1)
            yield SimpleNamespace(
                query_ids=random.integers(0, NUM_WORDS, (ROWS, 5))[rows],
                query_lengths=random.integers(1, 6, ROWS)[rows],
                document_ids=random.integers(0, NUM_WORDS, (ROWS, 16))[rows],
                document_lengths=random.integers(1, 17, ROWS)[rows],
                keys=keys[rows],
            )

    torch.manual_seed(0)
    model = Retriever(("context", "words"), vocab_size=NUM_WORDS, word_dim=6, backbone=AWDLSTM(SHAPE))
    task = RetrieverTask(
        model,
        training,
        batches=batches,
        steps_per_epoch=STEPS_PER_EPOCH,
        seed=3,
        precision="float32",
        device=torch.device("cpu"),
    )
    return task, training


TASKS: dict[str, Callable[[], tuple[Task, TrainingConfig]]] = {
    "language-model": lambda: language_model_task(SHAPE.without_dropout()),
    "language-model-dropout": lambda: language_model_task(DROPPING),
    "retriever": lambda: retriever_task(0.0),
    "retriever-dropout": lambda: retriever_task(0.4),
}


def run(
    name: str, path: Path, start: dict[str, torch.Tensor] | None = None, stop_after: int = 0
) -> list[dict[str, Any]]:
    """Train to the end; keep the state of step STOP at `path`-stop and the last one at `path`-end.

    With `stop_after` the run is asked to stop after so many steps, and gone on with as if in another process.
    """
    task, training = TASKS[name]()
    rows = []
    asked = itertools.count(1)
    for report in train(task, training, start=start, should_stop=lambda: next(asked) == stop_after):
        if report.is_stopped:
            # As if from disk: the state must not go on changing.
            return [*rows, *run(name, path, copied(report.state))]
        rows.append(report.metrics | {"step": report.step, "is_epoch_end": report.is_epoch_end})
        if report.state and report.step in (STOP, report.num_steps):
            kind = "stop" if report.step == STOP else "end"
            save_tensors(report.state, path.with_name(f"{path.name}-{kind}.safetensors"))
    return rows


def collectives() -> dict[str, Any]:
    """Return what each collective makes of two workers' numbers."""
    rank = dist.get_rank()
    rows = torch.tensor([[1.0 + rank, 2.0]], requires_grad=True)
    gathered = gather_rows(rows, 2)
    # Each rank weighs the gathered rows otherwise, so that the sum over ranks shows in the gradient.
    (gathered * torch.tensor([[1.0], [10.0]]) * (1 + rank)).sum().backward()
    own = own_rows(ROWS)
    try:
        own_rows(1)
    except ValueError as error:
        refused = str(error)
    return {
        "gathered": gathered.tolist(),
        "gradient": rows.grad.tolist(),
        "joined": gather_dim(torch.tensor([[[rank, 5]]]).transpose(1, 2), 1, 4).flatten().tolist(),
        "sums": sum_over_workers([1.0, 10.0 * rank], torch.device("cpu")),
        "own": [own.start, own.stop],
        "refused": refused,
    }


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    results: dict[str, Any] = {"one": {name: run(name, folder / f"{name}-one") for name in list(TASKS)[rank::2]}}
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results["collectives"] = collectives()
    scratch = folder if rank == 0 else folder / "rank-1"
    scratch.mkdir(exist_ok=True)
    results["two"] = {name: run(name, scratch / f"{name}-two") for name in TASKS}
    start = load_tensors(folder / "language-model-dropout-one-stop.safetensors")
    for stop in STOPS:
        run("language-model-dropout", scratch / f"stopped-at-{stop}", stop_after=stop)
    results["one-then-two"] = run("language-model-dropout", scratch / "one-then-two", start)
    dist.destroy_process_group()
    if rank == 0:
        start = load_tensors(folder / "language-model-dropout-two-stop.safetensors")
        results["two-then-one"] = run("language-model-dropout", folder / "two-then-one", start)
    (folder / f"results-{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
