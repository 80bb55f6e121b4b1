"""A job that is killed without warning loses nothing, doubles nothing, and leaves nothing that looks whole."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_SHARDS = 16


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_killed_in_both_phases_ends_with_the_shards_of_an_undisturbed_run(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl.gz"
    with gzip.open(SAMPLE, "rb") as once, gzip.open(corpus, "wb", 1) as twice:
        twice.write(once.read() * 2)
    script = [sys.executable, str(Path(__file__).with_name("kill_and_resume.py")), str(NUM_SHARDS), str(tmp_path)]
    done = subprocess.run([*script, "--input", str(corpus)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [int("".join(filter(str.isdigit, line))) for line in done.stdout.splitlines() if "shards found" in line]
    assert found[0] == NUM_SHARDS
    assert NUM_SHARDS // 2 <= found[1] < NUM_SHARDS
