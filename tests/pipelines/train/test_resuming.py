"""A training that is stopped or killed at a random step, and started again, ends with the bits of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy_training
from toy_training import Mishap

from ulmfit_ray.config import command_line
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.model.files import load_tensors
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.train import pretrain
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.storage.checkpoints import newest_checkpoint, newest_step
from ulmfit_ray.storage.folder import Folder
from ulmfit_ray.training.config import LanguageModelTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
LIMIT_SECONDS = 120


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], dict[str, torch.Tensor]]:
    """Return a function that gives the last state of a toy training with so many workers."""
    states = {}

    def state(num_workers: int) -> dict[str, torch.Tensor]:
        if num_workers not in states:
            states[num_workers] = toy_training.train(tmp_path_factory.mktemp("whole") / "lm", num_workers)
        return states[num_workers]

    return state


def differing(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> list[str]:
    assert set(found) == set(expected)
    return [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)]


def logged(config: PretrainConfig) -> list[dict]:
    """Return the rows of a model's log without their times."""
    rows = [json.loads(line) for line in Path(config.output, "training_log.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") >= 0 for row in rows)
    return rows


@pytest.mark.long
def test_an_error_on_one_of_two_workers_ends_the_job_and_both_go_on_once_it_is_mended_although_rays_file_is_cut_off(
    undisturbed: Callable, tmp_path: Path
) -> None:
    mishap = Mishap(tmp_path / "attempts", rank=1, step=29, error=ValueError("a broken shard"), times=1)
    with pytest.raises(RuntimeError, match=r"^worker 1 of 2, on node [\d.]+: a broken shard$"):
        toy_training.train(tmp_path / "lm", mishap=mishap)
    assert mishap.happened() == 1
    launches = list((tmp_path / "lm/checkpoints/ray-train").iterdir())
    assert launches
    for launch in launches:
        (launch / "checkpoint_manager_snapshot.json").write_text('{"ray_version": "2.')
    assert newest_step(Folder(str(tmp_path / "lm"))) == 24
    assert differing(toy_training.train(tmp_path / "lm", mishap=mishap), undisturbed(2)) == []


@pytest.mark.long
def test_a_worker_killed_at_a_random_step_changes_no_bit(undisturbed: Callable, tmp_path: Path) -> None:
    chance = random.Random(2)
    mishap = Mishap(tmp_path / "attempts", rank=chance.randrange(2), step=chance.randrange(1, 40), error=None, times=1)
    state = toy_training.train(tmp_path / "lm", 2, mishap)
    assert mishap.happened() == 1
    assert differing(state, undisturbed(2)) == []


@pytest.mark.long
def test_other_numbers_of_workers_go_on_to_the_same_weights_up_to_rounding(
    undisturbed: Callable, tmp_path: Path
) -> None:
    for num_workers, step in ((2, 13), (1, 27)):
        mishap = Mishap(tmp_path / f"at-{step}", rank=0, step=step, error=ValueError("stop"), times=1)
        with pytest.raises(RuntimeError, match="stop"):
            toy_training.train(tmp_path / "lm", num_workers, mishap)
        assert newest_checkpoint(Folder(str(tmp_path / "lm"))).world_size == num_workers
    state = toy_training.train(tmp_path / "lm", 2, mishap)
    for name, tensor in undisturbed(2).items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-4)


@pytest.fixture
def config(
    tokens: str, tmp_path: Path, small_architecture: ArchitectureOptions, small_training: LanguageModelTraining
) -> PretrainConfig:
    """A training of 51 steps with dropout and a checkpoint at each, so that it can be met at any of them."""
    return PretrainConfig(
        tokens=tokens,
        output=str(tmp_path / "lm"),
        architecture=replace(small_architecture, weight_dropout=0.2, hidden_dropout=0.1),
        training=replace(small_training, checkpoint_every_steps=1),
        precision="float32",
    )


@pytest.mark.long
def test_the_command_stopped_and_killed_at_random_steps_and_given_again_ends_with_the_same_bits(
    config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(config, scaling=Scaling(num_workers=2, num_cpus=1))
    whole = replace(config, output=str(tmp_path / "whole"))
    pretrain.run(whole)
    chance = random.Random(3)
    signalled(config, signal.SIGINT, at=chance.randrange(1, 20), status=130)
    signalled(config, signal.SIGKILL, at=chance.randrange(25, 40), status=-signal.SIGKILL)
    pretrain.run(config)
    found, expected = (load_tensors(Path(one.output, "model.safetensors")) for one in (config, whole))
    assert differing(found, expected) == []
    assert logged(config) == logged(whole)


def signalled(config: PretrainConfig, number: int, *, at: int, status: int) -> None:
    """Run the command, and send its process a signal when it has a checkpoint of that step."""
    import ray

    driver = subprocess.Popen(
        [sys.executable, "-m", "ulmfit_ray.cli", *command_line("pretrain", config).split()[1:]],
        env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + LIMIT_SECONDS
        while newest_step(Folder(config.output)) < at:
            assert driver.poll() is None, driver.communicate()[0]
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.01)
        driver.send_signal(number)
        text = driver.communicate(timeout=LIMIT_SECONDS)[0]
    finally:
        driver.kill()
    assert driver.returncode == status, text
    assert not Path(config.output, "manifest.json").exists()
