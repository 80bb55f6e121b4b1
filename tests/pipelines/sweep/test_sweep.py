"""Sweeps on Ray Tune: what they make is what the verb alone makes, whatever happened on the way."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import faults
import pyarrow.parquet as pq
import pytest

from ulmfit_ray.commands import inspect, verify
from ulmfit_ray.commands.inspect import InspectConfig
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.config import ConfigError
from ulmfit_ray.model.architecture import ArchitectureOptions
from ulmfit_ray.pipelines.options import Scaling
from ulmfit_ray.pipelines.sweep import job as sweep
from ulmfit_ray.pipelines.sweep.config import SweepOptions, SweepPretrain, SweepTrainRetriever
from ulmfit_ray.pipelines.sweep.grid import settings_of
from ulmfit_ray.pipelines.train import pretrain
from ulmfit_ray.storage.folder import Folder, sha256_file
from ulmfit_ray.storage.model_directory import ModelDirectory
from ulmfit_ray.training.config import LanguageModelTraining, RetrieverTraining

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def config(
    tokens: str, tmp_path: Path, small_architecture: ArchitectureOptions, small_training: LanguageModelTraining
) -> Any:
    """A sweep of four settings, each of 51 steps with a checkpoint every 10."""
    return SweepPretrain(
        tokens=tokens,
        output=str(tmp_path / "sweep"),
        architecture=small_architecture,
        training=replace(small_training, checkpoint_every_steps=10, report_every_steps=5),
        scaling=Scaling(num_cpus=1),
        precision="float32",
        grid=("training.learning_rate=1e-2,2e-3", "architecture.weight_dropout=0,0.3"),
    )


def weights(output: str) -> str:
    return sha256_file(Path(output, "model.safetensors"))


def written(config: Any) -> list[int]:
    """Return when each setting's manifest was written."""
    return [Path(setting.config.output, "manifest.json").stat().st_mtime_ns for setting in settings_of(config)]


def rows(config: Any) -> list[dict[str, Any]]:
    return pq.read_table(f"{config.output}/sweep.parquet").to_pylist()


@pytest.mark.slow
def test_a_setting_that_failed_is_named_and_done_again_and_is_what_its_verb_alone_makes(
    config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        faults.fault("publish", "model.safetensors") as happened,
        pytest.raises(RuntimeError, match="1 of 4 settings failed"),
    ):
        sweep.run(config)
    assert happened() == 1
    assert not Path(config.output, "manifest.json").exists()
    found = rows(config)
    assert sorted(row["state"] for row in found) == ["failed", "finished", "finished", "finished"]
    (failed,) = (row for row in found if row["state"] == "failed")
    assert "injected fault at publish of model.safetensors" in failed["problem"]
    assert failed["perplexity"] is None
    done = {
        row["output"]: Path(row["output"], "manifest.json").stat().st_mtime_ns for row in found if row is not failed
    }

    table = sweep.run(config)
    assert "sweep pretrain: 4 settings, 1 to be trained, 1 at once" in capsys.readouterr().out
    assert done == {model: Path(model, "manifest.json").stat().st_mtime_ns for model in done}
    assert [row["state"] for row in rows(config)] == ["finished"] * 4
    assert {path.name for path in Path(config.output).iterdir() if path.is_file()} == {
        *("config.json", "launches.json", "manifest.json", "report.html", "sweep.parquet", "sweep.csv", "sweep.png")
    }
    assert not Path(config.output, "ray-tune").exists()
    verify.run(VerifyConfig(input=config.output))
    inspect.run(InspectConfig(input=config.output))
    assert f'"{failed["output"]}"' in capsys.readouterr().out
    (setting,) = (one for one in settings_of(config) if one.config.output == failed["output"])
    alone = replace(setting.config, output=str(tmp_path / "alone"))
    pretrain.run(alone)
    assert weights(setting.config.output) == weights(alone.output)
    figures = ModelDirectory(alone.output).manifest.figures
    assert table is not None
    (row,) = (row for row in table.rows if row.uri == setting.config.output)
    assert row.figures == figures

    capsys.readouterr()
    before = written(config)
    sweep.run(config)
    assert "complete, nothing to do" in capsys.readouterr().out
    assert pretrain.run(setting.config) is not None
    assert written(config) == before


@pytest.mark.long
def test_a_stopped_sweep_goes_on_from_the_checkpoints_of_its_settings(config: Any, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not list(Path(config.output).glob("*/checkpoints/step-*/checkpoint.json")):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    # Long enough that a setting which has a checkpoint is not at its end when it hears of the signal.
    both = replace(config, training=replace(config.training, num_epochs=4), grid=("seed=0,1",))
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt, match=r"stopped: [12] of 2 settings are unfinished; the same command goes"):
        sweep.run(both)
    assert "unfinished" in {row["state"] for row in rows(both)}
    assert list(Path(config.output).glob("*/checkpoints/step-*/checkpoint.json"))
    sweep.run(both)
    assert [row["state"] for row in rows(both)] == ["finished"] * 2
    first = settings_of(both)[0].config
    alone = replace(first, output=str(tmp_path / "alone"))
    pretrain.run(alone)
    assert weights(first.output) == weights(alone.output)


@pytest.mark.long
def test_a_sweep_whose_settings_take_turns_with_two_workers_each_can_lie_in_a_bucket(config: Any, bucket: str) -> None:
    scaling = Scaling(num_workers=2, num_cpus=1)
    far = replace(config, output=f"{bucket}/sweep", scaling=scaling, grid=("seed=1,2",))
    table = sweep.run(far)
    assert table is not None
    assert [row.record.state for row in table.rows] == ["finished"] * 2
    folder = Folder(far.output)
    assert [name for name in folder.names() if "." in name] == [
        *("config.json", "launches.json", "manifest.json", "report.html", "sweep.csv", "sweep.parquet", "sweep.png")
    ]
    assert ModelDirectory(f"{far.output}/seed=2").manifest.figures == table.rows[1].figures
    sweep.run(far)


@pytest.mark.long
def test_a_bad_setting_is_stopped_early_and_trained_to_its_end_without_the_option(
    config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    early = replace(
        config,
        # On a busy machine it takes some seconds until a setting has been asked to end: several epochs of this one.
        training=replace(config.training, num_epochs=6),
        grid=("training.learning_rate=1e-2,1e-6",),
        # All cores for one: what is stopped must give them back.
        scaling=Scaling(num_cpus=2),
        sweep=SweepOptions(early_stopping="asha", max_parallel=1),
    )
    sweep.run(early)
    found = rows(early)
    assert [row["state"] for row in found] == ["finished", "stopped early"]
    assert found[1]["perplexity"] > found[0]["perplexity"]
    assert list(Path(found[1]["output"]).glob("checkpoints/step-*/checkpoint.json"))
    capsys.readouterr()
    sweep.run(early)
    assert "complete, nothing to do" in capsys.readouterr().out
    sweep.run(replace(early, sweep=SweepOptions()))
    assert [row["state"] for row in rows(early)] == ["finished"] * 2


@pytest.mark.long
def test_retrievers_are_compared_by_their_joint_accuracy_or_that_of_their_only_block(
    tokens: str, language_model: str, tmp_path: Path
) -> None:
    config = SweepTrainRetriever(
        tokens=tokens,
        model=language_model,
        output=str(tmp_path / "sweep"),
        word_dim=32,
        training=RetrieverTraining(num_epochs=3, global_batch_size=50),
        scaling=Scaling(num_cpus=1),
        grid=("blocks=words,words context",),
        sweep=SweepOptions(early_stopping="asha", reduction_factor=100),
    )
    sweep.run(config)
    found = rows(config)
    assert [row["blocks"] for row in found] == ["words", "words context"]
    assert found[0]["accuracy_joint"] == found[0]["accuracy_words"]
    assert "finished" in {row["state"] for row in found}
    assert all(row["accuracy_joint"] is not None for row in found)


@pytest.mark.long
def test_another_grid_adds_settings_and_another_config_is_refused(config: Any) -> None:
    first = replace(config, grid=("seed=1",))
    sweep.run(first)
    before = written(first)
    second = replace(config, grid=("architecture.weight_dropout=0.1", "seed=0"))
    sweep.run(second)
    found = rows(second)
    assert [(row["architecture.weight_dropout"], row["seed"], row["state"]) for row in found] == [
        (0.1, 0, "finished"),
        # That of the earlier grid, with the value that all its settings had.
        (0.0, 1, "finished"),
    ]
    assert written(first) == before
    with pytest.raises(ConfigError, match=r"belongs to another config \(training.bptt: 52 -> 26\)"):
        sweep.run(replace(first, training=replace(first.training, bptt=26)))
    sweep.run(replace(first, overwrite=True, training=replace(first.training, bptt=26)))
    assert [row["seed"] for row in rows(first)] == [1]
    assert [path.name for path in Path(config.output).iterdir() if Path(path, "manifest.json").exists()] == ["seed=1"]


def test_a_setting_that_its_verb_refuses_is_named_before_anything_runs(config: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"the tokens' vocabulary has .*\n    \(the setting architecture.vocab_size=1"
    ):
        sweep.run(replace(config, grid=("architecture.vocab_size=1000,1000000",)))
    assert not Path(config.output).exists()


def test_a_dry_run_says_what_would_be_trained(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.run(replace(config, dry_run=True)) is None
    said = capsys.readouterr().out
    assert "plan: 4 of 4 settings to be trained" in said
    assert "    architecture.weight_dropout=0.3,training.learning_rate=0.002: unfinished" in said
    assert not Path(config.output).exists()
