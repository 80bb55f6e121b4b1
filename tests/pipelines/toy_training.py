"""A small training on Ray Train that needs no tokens, and workers of it that fail at a step of one's choice."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.pipelines.options import RayOptions, Scaling
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.distributed import own_rows, rank
from ulmfit_ray.training.tasks.language_model import LanguageModelTask

STEPS = 20
SHAPE = Architecture(vocab_size=30, embedding_dim=8, hidden_size=12, num_layers=2)
TRAINING = LanguageModelTraining(
    num_epochs=2, global_batch_size=4, bptt=5, learning_rate=1e-2, checkpoint_every_steps=8, report_every_steps=5
)


@dataclass(frozen=True)
class Mishap:
    """What happens on one rank when it builds its task (step -1), or when it has taken so many steps in all."""

    attempts: Path
    """Holds a file for each time that it has happened."""
    rank: int
    step: int
    error: Exception | None = None
    """What is raised; None: the process dies of SIGKILL."""
    times: int = 1_000_000

    def at(self, step: int) -> None:
        """Let it happen if the time has come."""
        self.attempts.mkdir(exist_ok=True)
        happened = self.happened()
        if step == self.step and rank() == self.rank and happened < self.times:
            (self.attempts / str(happened)).touch()
            if self.error is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                raise self.error

    def happened(self) -> int:
        """Return how often it has happened."""
        return len(list(self.attempts.iterdir())) if self.attempts.exists() else 0


class Task(LanguageModelTask):
    """One whose loss is another number at one step."""

    loss_at: tuple[int, float] | None = None

    def loss(self, model: Any, batch: Any, carry: Any, step: int) -> Any:
        total, carry, figures = super().loss(model, batch, carry, step)
        if self.loss_at and step == self.loss_at[0]:
            figures["loss"] = figures["loss"] * self.loss_at[1]
        return total, carry, figures


def make_task(
    device: torch.device, precision: str | None, mishap: Mishap | None, loss_at: tuple[int, float] | None
) -> tuple[Task, dict[str, Any]]:
    """Build the task on a worker; at step `loss_at[0]` its loss is `loss_at[1]`."""
    if mishap:
        mishap.at(-1)
    rows = own_rows(TRAINING.global_batch_size)

    def windows(epoch: int, first: int) -> Iterator[np.ndarray]:
        columns = np.random.default_rng(epoch).integers(2, 30, (TRAINING.global_batch_size, STEPS * 5 + 1))[rows]
        for step in range(first, STEPS):
            if mishap:
                mishap.at(epoch * STEPS + step)
            yield columns[:, step * 5 : (step + 1) * 5 + 1]

    torch.manual_seed(0)
    task = Task(
        LanguageModel(SHAPE),
        TRAINING,
        train_windows=windows,
        steps_per_epoch=STEPS,
        valid_windows=None,
        seed=3,
        precision=precision or "float32",
        device=device,
    )
    task.loss_at = loss_at
    return task, {"precision": "float32"}


def train(
    output: Path, num_workers: int = 2, mishap: Mishap | None = None, loss_at: tuple[int, float] | None = None
) -> dict[str, torch.Tensor]:
    """Train to the end, on the session that is there, and return the last state."""
    from ulmfit_ray.pipelines.train.workers import run_training

    result = run_training(
        partial(make_task, mishap=mishap, loss_at=loss_at),
        replace(TRAINING),
        Folder(str(output)),
        Scaling(num_workers=num_workers, num_cpus=1),
        RayOptions(),
        "toy",
    )
    return result.state
