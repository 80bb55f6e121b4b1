"""Errors and deaths of encoder actors: nothing is lost, or the job fails and says which shard and why."""

import re
from contextlib import ExitStack
from pathlib import Path

import faults
import pytest

from ulmfit_ray.pipelines.encode.config import EmbedConfig
from ulmfit_ray.pipelines.encode.embed import run
from ulmfit_ray.storage.folder import sha256_file

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


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


def test_an_error_and_a_death_while_reading_and_while_writing_change_nothing(
    config: EmbedConfig, undisturbed: dict[str, str]
) -> None:
    places = (("open", "0.arrow", False), ("open", "1.arrow", True))
    places += (("publish", "2.parquet", False), ("publish", "3.parquet", True))
    with ExitStack() as stack:
        counts = [
            stack.enter_context(faults.fault(operation, f"shards/part-000000{name}", kill=kill))
            for operation, name, kill in places
        ]
        run(config)
        assert [happened() for happened in counts] == [1, 1, 1, 1]
    assert hashes(config.output) == undisturbed


def test_a_lasting_error_and_a_shard_that_ends_its_actor_each_time_fail_the_job_by_name_and_the_next_run_mends_it(
    config: EmbedConfig, undisturbed: dict[str, str]
) -> None:
    with (
        faults.fault("publish", "shards/part-0000001.parquet", times=faults.FOR_EVER),
        faults.fault("open", "shards/part-0000002.arrow", kill=True, times=faults.FOR_EVER) as happened,
        pytest.raises(RuntimeError, match=r"2 units failed") as error,
    ):
        run(config)
    assert re.search(r"\n    part-0000001 \(from .*part-0000001\.arrow\): OSError: injected fault", str(error.value))
    assert re.search(r"\n    part-0000002 \(from .*\): .*it ended its worker 3 times", str(error.value))
    # After our own count, not after Ray's.
    assert happened() == 3
    assert set(hashes(config.output)) == set(undisturbed) - {"part-0000001.parquet", "part-0000002.parquet"}
    assert not Path(config.output, "manifest.json").exists()
    run(config)
    assert hashes(config.output) == undisturbed
