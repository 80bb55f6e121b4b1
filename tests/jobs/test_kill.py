"""Killing a job without warning, twice, and running it again: the same shards as an undisturbed run."""

import gzip
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from ulmfit_ray.data.folder import sha256_file

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SAMPLE = Path(__file__).parents[2] / "jobs/sample/scifact/corpus.jsonl.gz"
NUM_SHARDS = 16
LIMIT_SECONDS = 240


def start(output: Path, corpus: Path, mark: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "ulmfit_ray.cli", "tokenize", "--input", str(corpus), "--output", str(output)]
    return subprocess.Popen(
        [*command, "--ray.num-cpus", "2"],
        env=environment | {"ULMFIT_RAY_TEST_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_all(mark: str) -> None:
    """Send SIGKILL to every process that carries the mark: the driver and all of its Ray session."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if f"ULMFIT_RAY_TEST_MARK={mark}".encode() in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue


def run_until(output: Path, corpus: Path, receipts: str, count: int) -> None:
    """Run the job and kill it as soon as `count` receipts lie in the folder `receipts`."""
    mark = uuid.uuid4().hex
    process = start(output, corpus, mark)
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(list((output / receipts).glob("part-*.json"))) < count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the job makes no progress"
        time.sleep(0.01)
    kill_all(mark)
    process.wait()
    assert not (output / "manifest.json").exists()


def run_to_the_end(output: Path, corpus: Path) -> str:
    process = start(output, corpus, uuid.uuid4().hex)
    text, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, text
    return text


def found(text: str, what: str) -> int:
    line = next(line for line in text.splitlines() if f"shards found {what}" in line)
    return int("".join(filter(str.isdigit, line)))


def test_a_job_killed_in_both_phases_ends_with_the_shards_of_an_undisturbed_run(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl.gz"
    with gzip.open(SAMPLE, "rb") as packed, gzip.open(corpus, "wb", 1) as twice:
        twice.write(packed.read() * 2)
    run_until(tmp_path / "killed", corpus, "work/done", NUM_SHARDS // 2)
    run_until(tmp_path / "killed", corpus, "done", NUM_SHARDS // 2)
    text = run_to_the_end(tmp_path / "killed", corpus)
    run_to_the_end(tmp_path / "whole", corpus)
    assert found(text, "tokenized") >= NUM_SHARDS - 1
    assert NUM_SHARDS // 2 <= found(text, "written") < NUM_SHARDS
    names = sorted(path.name for path in (tmp_path / "whole/shards").iterdir())
    assert len(names) >= NUM_SHARDS - 1
    assert names == sorted(path.name for path in (tmp_path / "killed/shards").iterdir())
    for name in [*(f"shards/{name}" for name in names), "vocab.json"]:
        assert sha256_file(tmp_path / "killed" / name) == sha256_file(tmp_path / "whole" / name), name
