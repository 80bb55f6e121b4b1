"""A toy language-model task: every token follows from the one before."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from ulmfit_ray.model.architecture import Architecture
from ulmfit_ray.model.awd_lstm import LanguageModel
from ulmfit_ray.training.config import LanguageModelTraining
from ulmfit_ray.training.tasks.language_model import LanguageModelTask

COLUMN_TOKENS = 46

MakeTask = Callable[..., LanguageModelTask]


@pytest.fixture
def architecture() -> Architecture:
    """20 words, two layers of 8-12-8, all five dropouts on."""
    return Architecture(
        vocab_size=20,
        embedding_dim=8,
        hidden_size=12,
        num_layers=2,
        embedding_dropout=0.1,
        input_dropout=0.2,
        hidden_dropout=0.2,
        output_dropout=0.1,
        weight_dropout=0.3,
    )


@pytest.fixture
def make_task(architecture: Architecture) -> MakeTask:
    """Build the task of a training config: 10 steps of 5 tokens an epoch, the last one of a single token."""

    def make(
        training: LanguageModelTraining,
        *,
        shape: Architecture = architecture,
        model_seed: int = 0,
        with_validation: bool = True,
        precision: str = "float32",
        task_class: type[LanguageModelTask] = LanguageModelTask,
    ) -> LanguageModelTask:
        torch.manual_seed(model_seed)

        def windows(epoch: int, first: int) -> Iterator[np.ndarray]:
            columns = np.array([[2 + (5 * row + 7 * epoch) % 17] for row in range(training.global_batch_size)])
            for _ in range(COLUMN_TOKENS):
                columns = np.append(columns, 2 + (columns[:, -1:] * 3 + 1) % 17, axis=1)
            for start in range(first * training.bptt, COLUMN_TOKENS, training.bptt):
                yield columns[:, start : start + training.bptt + 1].astype(np.uint16)

        return task_class(
            LanguageModel(shape),
            training,
            train_windows=windows,
            steps_per_epoch=-(-COLUMN_TOKENS // training.bptt),
            valid_windows=(lambda _epoch, _first: windows(5, 0)) if with_validation else None,
            seed=11,
            precision=precision,
            device=torch.device("cpu"),
        )

    return make


@pytest.fixture
def training() -> LanguageModelTraining:
    """Two epochs of ten steps, a report at each."""
    return LanguageModelTraining(
        num_epochs=2, global_batch_size=4, learning_rate=1e-2, bptt=5, checkpoint_every_steps=7, report_every_steps=1
    )
