"""Train the same tasks with one worker, two and three, in processes: python several_workers.py RANK FOLDER.

Each of three ranks first trains some of the tasks alone. Then two of them train all tasks together over gloo, and rank
0 goes on alone from a checkpoint of the two; at last all three train the classifier. Figures are left in
FOLDER/results-RANK.json, states in FOLDER/*.safetensors.
"""

import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import AWDLSTM, LanguageModel
from ulmfit_ray.model.classifier import Classifier
from ulmfit_ray.model.description import ClassifierHead
from ulmfit_ray.model.files import copied, load_tensors, save_tensors
from ulmfit_ray.model.retriever import SpellingRetriever
from ulmfit_ray.training.config import ClassifierTraining, LanguageModelTraining, RetrieverTraining, TrainingConfig
from ulmfit_ray.training.distributed import gather_dim, gather_rows, own_rows, own_share, sum_over_workers
from ulmfit_ray.training.loop import train
from ulmfit_ray.training.task import Task
from ulmfit_ray.training.tasks.classifier import ClassifierTask
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
    rows = own_share(ROWS)

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
    model = SpellingRetriever(
        ("context", "words"),
        vocab_size=NUM_WORDS,
        word_dim=6,
        backbone=AWDLSTM(SHAPE),
        saturated=True,
        num_grams=9,
        offsets=2 * torch.arange(NUM_WORDS + 1),
        rows=torch.randint(0, 9, (2 * NUM_WORDS,)),
    )
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


def classifier_task(shape: Architecture, head_dropouts: tuple[float, float]) -> tuple[Task, TrainingConfig]:
    """Documents of unequal lengths, the batches' sizes in turn 7 and 6; batch norm, and a new stage at step 25."""
    training = ClassifierTraining(**STEPS, unfreeze=(2, 0), stage_rates=(), learning_rate=3e-3, bptt=5)

    def batches(epoch: int, first: int) -> Iterator[SimpleNamespace]:
        for step in range(first, STEPS_PER_EPOCH):
            yield labelled_batch(np.random.default_rng([epoch, step]), np.arange(ROWS - step % 2))

    def judge(outputs: np.ndarray, targets: np.ndarray) -> tuple[dict[str, float], None]:
        right = outputs.argmax(1) == targets
        return {"loss": float(np.square(outputs).mean()), "accuracy": float(right.mean())}, None

    torch.manual_seed(0)
    head = ClassifierHead(objective="single-label", labels=("a", "b", "c"), hidden_sizes=(6,))
    task = ClassifierTask(
        Classifier(AWDLSTM(shape), head),
        training,
        head_dropouts=head_dropouts,
        class_weights=np.array([1.0, 2.0, 0.5]),
        batches=batches,
        steps_per_epoch=STEPS_PER_EPOCH,
        # The last batch has fewer documents than there are workers.
        valid_batches=lambda: (
            labelled_batch(np.random.default_rng([9, size]), first + np.arange(size))
            for first, size in ((0, 7), (7, 1))
        ),
        judge=judge,
        seed=3,
        precision="float32",
        device=torch.device("cpu"),
    )
    return task, training


def labelled_batch(random: np.random.Generator, numbers: np.ndarray) -> SimpleNamespace:
    """Return this worker's documents of a batch as `streams.labelled` deals them out; all know all targets."""
    lengths = np.sort(random.integers(1, 30, len(numbers)))[::-1]
    documents = [random.integers(0, NUM_WORDS, length) for length in lengths]
    world = dist.get_world_size() if dist.is_initialized() else 1
    rows = slice(dist.get_rank() if dist.is_initialized() else 0, len(numbers), world)
    return SimpleNamespace(
        documents=documents[rows],
        rows=rows,
        size=len(numbers),
        targets=random.integers(0, 3, len(numbers)),
        num_tokens=int(lengths.sum()),
        numbers=numbers,
    )


TASKS: dict[str, Callable[[], tuple[Task, TrainingConfig]]] = {
    "language-model": lambda: language_model_task(SHAPE.without_dropout()),
    "language-model-dropout": lambda: language_model_task(DROPPING),
    "retriever": lambda: retriever_task(0.0),
    "retriever-dropout": lambda: retriever_task(0.4),
    "classifier": lambda: classifier_task(SHAPE.without_dropout(), (0.0, 0.0)),
    "classifier-dropout": lambda: classifier_task(DROPPING, (0.4, 0.1)),
}
FOR_THREE = ("classifier", "classifier-dropout")


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


def together(world: int, rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous-{world}", rank=rank, world_size=world)


def of_two(rank: int, folder: Path) -> dict[str, Any]:
    """Return what two workers make of all tasks, and of checkpoints of one."""
    together(2, rank, folder)
    results: dict[str, Any] = {"collectives": collectives()}
    scratch = folder if rank == 0 else folder / "rank-1"
    scratch.mkdir(exist_ok=True)
    results["two"] = {name: run(name, scratch / f"{name}-two") for name in TASKS}
    start = load_tensors(folder / "language-model-dropout-one-stop.safetensors")
    for stop in STOPS:
        run("language-model-dropout", scratch / f"stopped-at-{stop}", stop_after=stop)
    results["one-then-two"] = run("language-model-dropout", scratch / "one-then-two", start)
    dist.destroy_process_group()
    return results


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    results: dict[str, Any] = {"one": {name: run(name, folder / f"{name}-one") for name in list(TASKS)[rank::3]}}
    (folder / f"alone-{rank}").touch()
    if rank < 2:
        while not all((folder / f"alone-{number}").exists() for number in range(3)):
            time.sleep(0.1)
        results |= of_two(rank, folder)
    together(3, rank, folder)
    scratch = folder if rank == 0 else folder / f"rank-{rank}"
    scratch.mkdir(exist_ok=True)
    results["three"] = {name: run(name, scratch / f"{name}-three") for name in FOR_THREE}
    dist.destroy_process_group()
    if rank == 0:
        start = load_tensors(folder / "language-model-dropout-two-stop.safetensors")
        results["two-then-one"] = run("language-model-dropout", folder / "two-then-one", start)
    (folder / f"results-{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
