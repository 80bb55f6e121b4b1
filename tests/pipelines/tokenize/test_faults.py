"""Errors and deaths of workers in each phase of tokenizing: nothing is lost, or the job fails and says what."""

import json
from contextlib import ExitStack
from pathlib import Path

import faults
import pytest

from ulmfit_ray.commands import verify
from ulmfit_ray.commands.verify import VerifyConfig
from ulmfit_ray.pipelines.tokenize import vocabulary
from ulmfit_ray.pipelines.tokenize.config import TokenizeConfig
from ulmfit_ray.pipelines.tokenize.job import run
from ulmfit_ray.storage.folder import sha256_file
from ulmfit_ray.storage.token_dataset import TokenDataset

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

PHASES = {
    "tokenize": ("publish", "work/part-0000001.arrow"),
    "vocabulary": ("open", "work/part-0000001.types.parquet"),
    "numericalize": ("publish", "shards/part-0000001.arrow"),
}


@pytest.fixture(autouse=True)
def _types_are_added_up_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray count the few types of these shards, too; `tokens` had them counted by the driver."""
    monkeypatch.setattr(vocabulary, "MAX_BYTES_HERE", 0)


@pytest.fixture
def config(corpus: Path, tmp_path: Path) -> TokenizeConfig:
    """The job that made the session's `tokens`, into a new output."""
    return TokenizeConfig(
        input=(str(corpus),),
        output=str(tmp_path / "tokens"),
        text_columns=("title", "text"),
        id_column="_id",
        keep_columns=("title",),
        mark_fields="no",
        min_freq=1,
    )


def hashes(output: str) -> dict[str, str]:
    names = [f"shards/part-000000{number}.arrow" for number in range(4)]
    return {name: sha256_file(Path(output, name)) for name in [*names, "vocab.json"]}


@pytest.mark.parametrize("kill", [False, True], ids=["error", "death"])
def test_one_fault_in_each_phase_changes_nothing(config: TokenizeConfig, tokens: str, kill: bool) -> None:
    with ExitStack() as stack:
        counts = [stack.enter_context(faults.fault(*where, kill=kill)) for where in PHASES.values()]
        run(config)
        assert [happened() for happened in counts] == [1, 1, 1]
    assert hashes(config.output) == hashes(tokens)
    figures = [TokenDataset(output).manifest.figures for output in (config.output, tokens)]
    assert all(figures[0][name] == figures[1][name] for name in figures[0].keys() - {"seconds"})
    assert verify.run(VerifyConfig(input=config.output))["num_documents"] == 200
    assert not Path(config.output, "started").exists()


@pytest.mark.long
def test_a_lasting_fault_in_any_phase_fails_the_job_by_name_and_the_next_run_mends_it(
    config: TokenizeConfig, tokens: str
) -> None:
    said = {
        "tokenize": r"part-0000001 \(from .*1\.jsonl\): OSError: injected fault",
        "vocabulary": r"work/part-0000001\.types\.parquet cannot be read: OSError: injected fault",
        "numericalize": r"part-0000001 \(from .*work/part-0000001\.arrow\): OSError: injected fault",
    }
    for phase, where in PHASES.items():
        # Each run comes as far as the phase that fails.
        with faults.fault(*where, times=faults.FOR_EVER), pytest.raises(RuntimeError, match=said[phase]):
            run(config)
        assert not Path(config.output, "manifest.json").exists()
    run(config)
    assert hashes(config.output) == hashes(tokens)


def test_a_shard_that_ends_its_worker_each_time_ends_after_our_own_count(config: TokenizeConfig) -> None:
    for phase, where in {"tokenize": "work/done", "numericalize": "done"}.items():
        with (
            faults.fault(*PHASES[phase], kill=True, times=faults.FOR_EVER) as happened,
            pytest.raises(RuntimeError, match=r"part-0000001 \(from .*\): .*it ended its worker 3 times") as error,
        ):
            run(config)
        assert happened() == 3
        assert "1 units failed" in str(error.value)
        others = {path.stem for path in Path(config.output, where).iterdir()}
        assert others == {"part-0000000", "part-0000002", "part-0000003"}
        assert "it ended its worker" in Path(config.output, "failed/part-0000001.txt").read_text()
    assert json.loads(Path(config.output, "config.json").read_text())["job"]["verb"] == "tokenize"
