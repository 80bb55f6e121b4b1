"""A job that is killed without warning loses nothing, doubles nothing, and leaves nothing that looks whole."""

import gzip
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from kill_and_resume import finish, kill_all, start, wait_for, workers
from untrained import untrained_model

from ulmfit_ray.storage.folder import sha256_file

SAMPLE = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_SHARDS = 16
ENCODERS = b"ray::MapWorker"

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the token datasets `killed` and `whole` lie, once the first has been tokenized."""
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def said(place: Path) -> str:
    """What the program said that tokenizes the sample twice over, killed twice, and undisturbed."""
    corpus = place / "corpus.jsonl.gz"
    with gzip.open(SAMPLE, "rb") as once, gzip.open(corpus, "wb", 1) as twice:
        twice.write(once.read() * 2)
    script = [sys.executable, str(Path(__file__).with_name("kill_and_resume.py")), str(NUM_SHARDS), str(place)]
    done = subprocess.run([*script, "--input", str(corpus)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def num_found(text: str) -> list[int]:
    """Return how many shards each run of a job found done at its start."""
    return [int("".join(filter(str.isdigit, line))) for line in text.splitlines() if "shards found" in line]


def hashes(output: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in (output / "shards").iterdir()}


def test_a_job_killed_in_both_phases_ends_with_the_shards_of_an_undisturbed_run(said: str) -> None:
    found = num_found(said)
    assert found[0] == NUM_SHARDS
    assert NUM_SHARDS // 2 <= found[1] < NUM_SHARDS


@pytest.mark.usefixtures("said")
def test_an_embedding_that_loses_an_actor_all_of_ray_and_its_driver_ends_with_the_vectors_of_an_undisturbed_run(
    place: Path, tmp_path: Path
) -> None:
    tokens, killed, whole = str(place / "killed"), tmp_path / "killed", tmp_path / "whole"
    options = ["--input", tokens, "--model", untrained_model(tmp_path, tokens)]
    mark = uuid.uuid4().hex
    process = start("embed", killed, options, mark)
    wait_for(process, mark, killed / "done", NUM_SHARDS // 4)
    os.kill(workers(mark, ENCODERS)[0], signal.SIGKILL)
    wait_for(process, mark, killed / "done", NUM_SHARDS // 2)
    kill_all(mark)
    process.wait()
    assert not (killed / "manifest.json").exists()
    mark = uuid.uuid4().hex
    process = start("embed", killed, options, mark)
    wait_for(process, mark, killed / "done", 3 * NUM_SHARDS // 4)
    process.kill()
    process.wait()
    assert not (killed / "manifest.json").exists()
    # The actors that the driver left behind end by themselves; what they still commit is right.
    (found,) = num_found(finish("embed", killed, options))
    assert 3 * NUM_SHARDS // 4 <= found <= NUM_SHARDS
    finish("embed", whole, options)
    assert len(hashes(whole)) == NUM_SHARDS
    assert hashes(killed) == hashes(whole)
