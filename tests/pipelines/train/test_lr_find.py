"""The sweep of learning rates over real abstracts, on Ray: what it tries, what it writes, what it refuses."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ulmfit_ray.commands import inspect, verify
from ulmfit_ray.commands.inspect import InspectConfig
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.train import lr_find, pretrain
from ulmfit_ray.pipelines.train.config import FindLearningRateConfig
from ulmfit_ray.pipelines.train.language_model import make_task
from ulmfit_ray.storage.token_dataset import TokenDataset
from ulmfit_ray.training.config import LanguageModelTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def config(
    tokens: str, tmp_path: Path, small_architecture: ArchitectureOptions, small_training: LanguageModelTraining
) -> FindLearningRateConfig:
    return FindLearningRateConfig(
        tokens=tokens,
        output=str(tmp_path / "lr"),
        architecture=small_architecture,
        training=small_training,
        scaling=Scaling(num_cpus=1),
        precision="float32",
    )


def curve(config: FindLearningRateConfig) -> np.ndarray:
    """Return lr_find.csv: (steps, rate and loss and smoothed loss)."""
    path = Path(config.output, "lr_find.csv")
    assert path.read_text().startswith("learning_rate,loss,smoothed_loss\n")
    return np.loadtxt(path, delimiter=",", skiprows=1)


def by_hand(config: FindLearningRateConfig, num_steps: int) -> list[float]:
    """Return the losses of a plain loop over the epochs that sets each step's rate itself."""
    config, start = replace(config, valid_fraction=0.0), pretrain.start_of(config)
    task, _ = make_task(torch.device("cpu"), None, config=config, start=start, architecture=start.architecture)
    groups = [
        {"params": [p for p in task.model.parameters() if p.ndim >= 2], "weight_decay": config.training.weight_decay},
        {"params": [p for p in task.model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, config.training.adam_beta2), eps=config.training.adam_eps)
    losses: list[float] = []
    for epoch in range(num_steps):
        carry = task.initial_carry()
        for batch in task.batches(epoch, 0):
            for group in optimizer.param_groups:
                group["lr"] = 1e-7 * 10 ** (8 * len(losses) / 100)
            loss, carry[0], figures = task.loss(task.model, batch[0], carry[0], len(losses))
            losses.append(float(figures["loss"]))
            if len(losses) == num_steps:
                return losses
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), config.training.gradient_clip)
            optimizer.step()
    raise AssertionError


def test_the_losses_are_those_of_a_plain_loop_at_rising_rates(
    config: FindLearningRateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = lr_find.run(config)
    assert manifest is not None
    found = curve(config)
    # An epoch has 57 steps. Where the loss explodes, equal sums in another order part.
    assert len(found) > 70
    np.testing.assert_allclose(found[:70, 0], np.geomspace(1e-7, 10, 101)[:70])
    np.testing.assert_allclose(found[:70, 1], by_hand(config, 70), atol=1e-4)
    rate = manifest.figures["learning_rate"]
    assert 1e-5 < rate < 1
    assert capsys.readouterr().out.endswith(f"--training.learning-rate {rate:g}\n")
    names = sorted(path.name for path in Path(config.output).iterdir())
    assert names == ["config.json", "launches.json", "lr_find.csv", "lr_find.png", "manifest.json", "report.html"]
    verify.run(VerifyConfig(input=config.output))
    inspect.run(InspectConfig(input=config.output))


def test_a_finished_sweep_is_shown_again_and_another_one_refused(
    config: FindLearningRateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(config, num_steps=30, first_rate=1e-4, last_rate=1e-2)
    lr_find.run(config)
    assert len(curve(config)) == 30
    said = capsys.readouterr().out.splitlines()[-1]
    lr_find.run(replace(config, scaling=Scaling(num_workers=2, num_cpus=1)))
    again = capsys.readouterr().out.splitlines()
    assert again[0].strip() == "complete, nothing to do"
    assert again[-1] == said
    with pytest.raises(ConfigError, match=r"last_rate: 0.01 -> 0.1"):
        lr_find.run(replace(config, last_rate=0.1))


def test_a_sweep_from_a_model_begins_where_the_model_stands(
    config: FindLearningRateConfig, language_model: str
) -> None:
    config = replace(config, num_steps=20, last_rate=1e-6, model=language_model, architecture=ArchitectureOptions())
    lr_find.run(config)
    # Three epochs taught it so much; a new model begins at the logarithm of the number of words.
    num_words = TokenDataset(config.tokens).manifest.figures["vocab_size"]
    assert curve(config)[:, 1].mean() < math.log(num_words) - 1.5


def test_what_the_worker_refuses_is_said_in_its_own_words(config: FindLearningRateConfig) -> None:
    training = replace(config.training, global_batch_size=1_000_000)
    with pytest.raises(
        RuntimeError, match=r"^ValueError: 58,\d+ tokens are too few for a batch of 1000000 rows: lower"
    ):
        lr_find.run(replace(config, training=training))
    assert not Path(config.output, "manifest.json").exists()


def test_a_sweep_that_diverges_at_once_says_what_to_change(config: FindLearningRateConfig) -> None:
    with pytest.raises(RuntimeError, match="too early for a suggestion: lower --first-rate"):
        lr_find.run(replace(config, first_rate=1e5, last_rate=1e6))


def test_a_retriever_is_not_what_a_language_model_starts_from(config: FindLearningRateConfig, retriever: str) -> None:
    config = replace(config, model=retriever, architecture=ArchitectureOptions())
    with pytest.raises(ConfigError, match="is a retriever; needed is a language model"):
        lr_find.run(config)
