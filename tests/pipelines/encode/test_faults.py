"""Errors and deaths of encoder actors: nothing is lost, or the job fails and says which shard and why."""

from pathlib import Path

import faults
import pytest

from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.encode.embed import run
from ulmfit_ray.storage.folder import sha256_file

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
OPERATIONS = {"reading": ("open", "shards/part-0000001.arrow"), "writing": ("publish", "shards/part-0000001.parquet")}


@pytest.fixture(scope="module")
def undisturbed(language_model: str, tokens: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = str(tmp_path_factory.mktemp("whole") / "embeddings")
    run(EmbedConfig(model=(language_model,), input=(tokens,), output=output))
    return hashes(output)


@pytest.fixture
def config(language_model: str, tokens: str, tmp_path: Path) -> EmbedConfig:
    return EmbedConfig(model=(language_model,), input=(tokens,), output=str(tmp_path / "embeddings"))


def hashes(output: str) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(Path(output, "shards").iterdir())}


@pytest.mark.parametrize(
    ("operation", "kill"),
    [
        ("writing", True),
        pytest.param("reading", False, marks=pytest.mark.cluster),
        pytest.param("reading", True, marks=pytest.mark.cluster),
        pytest.param("writing", False, marks=pytest.mark.cluster),
    ],
)
def test_one_fault_changes_nothing(
    config: EmbedConfig, undisturbed: dict[str, str], operation: str, kill: bool
) -> None:
    with faults.fault(*OPERATIONS[operation], kill=kill) as happened:
        run(config)
    assert happened() == 1
    assert hashes(config.output) == undisturbed


@pytest.mark.cluster
def test_a_lasting_error_fails_the_job_by_name_and_the_next_run_mends_it(
    config: EmbedConfig, undisturbed: dict[str, str]
) -> None:
    message = r"1 units failed.*\n    part-0000001 \(from .*part-0000001\.arrow\): OSError: injected fault"
    with (
        faults.fault(*OPERATIONS["writing"], times=faults.FOR_EVER),
        pytest.raises(RuntimeError, match=message),
    ):
        run(config)
    assert not Path(config.output, "manifest.json").exists()
    run(config)
    assert hashes(config.output) == undisturbed


def test_a_shard_that_ends_its_actor_each_time_ends_after_our_own_count(
    config: EmbedConfig, undisturbed: dict[str, str]
) -> None:
    with (
        faults.fault(*OPERATIONS["reading"], kill=True, times=faults.FOR_EVER) as happened,
        pytest.raises(RuntimeError, match=r"part-0000001 \(from .*\): .*it ended its worker 3 times"),
    ):
        run(config)
    assert happened() == 3
    assert set(hashes(config.output)) == set(undisturbed) - {"part-0000001.parquet"}
