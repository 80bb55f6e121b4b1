"""Errors and deaths of training workers: training goes on from its checkpoint and ends with the same weights."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import faults
import pytest

from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.train import failures, pretrain
from ulmfit_ray.pipelines.train.config import PretrainConfig
from ulmfit_ray.storage.folder import sha256_file
from ulmfit_ray.training.config import LanguageModelTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def undisturbed(
    tokens: str,
    small_architecture: ArchitectureOptions,
    small_training: LanguageModelTraining,
    tmp_path_factory: pytest.TempPathFactory,
) -> PretrainConfig:
    """A finished training of 51 steps, with a checkpoint every 20."""
    config = PretrainConfig(
        tokens=tokens,
        output=str(tmp_path_factory.mktemp("whole") / "lm"),
        architecture=small_architecture,
        training=replace(small_training, checkpoint_every_steps=20),
        scaling=Scaling(num_cpus=1),
        precision="float32",
    )
    pretrain.run(config)
    return config


def weights(config: PretrainConfig) -> str:
    return sha256_file(Path(config.output, "model.safetensors"))


@pytest.mark.long
def test_an_error_and_a_death_while_tokens_are_read_and_checkpoints_written_change_nothing(
    undisturbed: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(undisturbed, output=str(tmp_path / "lm"))
    places = (("open", "shards/part-0000001.arrow", False), ("open", "shards/part-0000002.arrow", True))
    places += (("publish", "step-0000020/checkpoint.json", False), ("publish", "step-0000040/checkpoint.json", True))
    with ExitStack() as stack:
        counts = [stack.enter_context(faults.fault(*where, kill=kill)) for *where, kill in places]
        pretrain.run(config)
        assert [happened() for happened in counts] == [1, 1, 1, 1]
    assert weights(config) == weights(undisturbed)


@pytest.mark.long
def test_a_lasting_error_ends_the_job_with_its_reason_and_the_next_run_goes_on(
    undisturbed: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MAX_FAILURES", 1)
    config = replace(undisturbed, output=str(tmp_path / "lm"))
    with (
        faults.fault("publish", "step-0000040/state.safetensors", times=faults.FOR_EVER),
        pytest.raises(RuntimeError, match=r"^worker 0: OSError: injected fault at publish of .*\n.*failure 2 without"),
    ):
        pretrain.run(config)
    assert not Path(config.output, "manifest.json").exists()
    assert Path(config.output, "checkpoints/step-0000020/checkpoint.json").exists()
    pretrain.run(config)
    assert weights(config) == weights(undisturbed)
